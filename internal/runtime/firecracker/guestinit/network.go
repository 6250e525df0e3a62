package guestinit

import (
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/control"
)

const card = "eth0"

// setUpNetwork gives the guest's card its address and route, and brings the loopback up. Settings
// by system calls alone keep this program small.
func setUpNetwork(l control.Link) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	address, err := netip.ParsePrefix(l.Address)
	if err != nil {
		return err
	}
	gateway, err := netip.ParseAddr(l.Gateway)
	if err != nil {
		return err
	}
	mask := net.CIDRMask(address.Bits(), 32)
	for _, step := range []func() error{
		func() error { return bringUp(fd, "lo") },
		func() error { return setNumber(fd, unix.SIOCSIFMTU, uint32(l.MTU)) },
		func() error { return setAddress(fd, unix.SIOCSIFADDR, address.Addr().AsSlice()) },
		func() error { return setAddress(fd, unix.SIOCSIFNETMASK, mask) },
		func() error { return bringUp(fd, card) },
		func() error { return addRoute(fd, gateway) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("set up the network: %w", err)
		}
	}
	return nil
}

func bringUp(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.SetUint16(r.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

func setNumber(fd int, request uint, n uint32) error {
	r, err := unix.NewIfreq(card)
	if err != nil {
		return err
	}
	r.SetUint32(n)
	return unix.IoctlIfreq(fd, request, r)
}

func setAddress(fd int, request uint, address []byte) error {
	r, err := unix.NewIfreq(card)
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(address); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, request, r)
}

// route is the kernel's struct rtentry.
type route struct {
	_           uint64
	destination unix.RawSockaddrInet4
	gateway     unix.RawSockaddrInet4
	mask        unix.RawSockaddrInet4
	flags       uint16
	_           [3]uint16
	_           uint64
	_           uint64
	metric      int16
	_           [3]uint16
	device      uintptr
	_, _        uint64
	_           uint16
	_           [3]uint16
}

func addRoute(fd int, gateway netip.Addr) error {
	any4 := unix.RawSockaddrInet4{Family: unix.AF_INET}
	r := route{destination: any4, mask: any4, flags: unix.RTF_UP | unix.RTF_GATEWAY,
		gateway: unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: gateway.As4()}}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return fmt.Errorf("the way through %s: %w", gateway, errno)
	}
	return nil
}
