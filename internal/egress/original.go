package egress

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// originalDestination is where a connection was sent to before the host's rules led it here.
func originalDestination(c net.Conn) (netip.AddrPort, error) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	const soOriginalDst = 80 // from linux/netfilter_ipv4.h
	var at unix.RawSockaddrInet4
	size := uint32(unix.SizeofSockaddrInet4)
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_IP, soOriginalDst,
			uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask where a connection was sent to: %w", err)
	}
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], at.Port) // which is in the order of the network
	return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), binary.BigEndian.Uint16(port[:])), nil
}
