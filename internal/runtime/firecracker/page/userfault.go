package page

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of userfaultfd(2), of include/uapi/linux/userfaultfd.h.
const (
	uffdioAPI      = 0xc018aa3f
	uffdioWake     = 0x8010aa02
	uffdioCopy     = 0xc028aa03
	uffdioZeropage = 0xc020aa04

	eventPagefault = 0x12
	eventRemove    = 0x15
	messageSize    = 32

	uffdAPI = 0xaa

	// What Firecracker and the server need of the host's kernel.
	featureRemove      = 1 << 3
	featureMissingHuge = 1 << 4
)

// message is what the kernel tells of a guest's memory.
type message struct {
	event byte
	// address of the page for eventPagefault, of the first byte for eventRemove.
	address uint64
	end     uint64 // of what was removed
}

func decodeMessage(b []byte) message {
	m := message{event: b[0], address: binary.LittleEndian.Uint64(b[16:])}
	if m.event == eventRemove {
		m.address, m.end = binary.LittleEndian.Uint64(b[8:]), m.address
	}
	return m
}

// userfault is the descriptor by which a process has given the faults of its memory away.
type userfault int

// copy makes the pages at address those in p, and returns how many bytes it did. Less than all
// is an error: EEXIST if the next page is there already, EAGAIN if something is to be read from
// the descriptor first, ESRCH if the process has ended.
func (u userfault) copy(address uint64, p []byte) (done uint64, err error) {
	c := struct {
		dst, src, length, mode uint64
		copied                 int64
	}{dst: address, src: uint64(uintptr(unsafe.Pointer(&p[0]))), length: uint64(len(p))}
	err = u.ioctl(uffdioCopy, unsafe.Pointer(&c))
	runtime.KeepAlive(p)
	return progress(c.copied, c.length, err)
}

// zero makes pages zero, which takes no memory until they are written to. Else it is as copy.
func (u userfault) zero(address, length uint64) (done uint64, err error) {
	z := struct {
		start, length, mode uint64
		zeroed              int64
	}{start: address, length: length}
	err = u.ioctl(uffdioZeropage, unsafe.Pointer(&z))
	return progress(z.zeroed, z.length, err)
}

// progress reads the answer of a call, which may be partly done: EAGAIN then, with the bytes.
func progress(answer int64, all uint64, err error) (uint64, error) {
	switch {
	case err == nil:
		return all, nil
	case answer > 0:
		return uint64(answer), err
	case answer < 0 && errors.Is(err, unix.EAGAIN):
		return 0, unix.Errno(-answer)
	}
	return 0, err
}

// wake lets who waits for pages look again.
func (u userfault) wake(address, length uint64) {
	r := struct{ start, length uint64 }{address, length}
	_ = u.ioctl(uffdioWake, unsafe.Pointer(&r)) // the process may have ended
}

func (u userfault) ioctl(call uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(u), call, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// Where a descriptor comes from, and who may have one without it.
const (
	userfaultDevice  = "/dev/userfaultfd"
	userfaultSetting = "/proc/sys/vm/unprivileged_userfaultfd"
)

// Supported tells whether a Firecracker in a jail can give the faults of its guest to a page server on this
// host. The error says what is missing, and what mends it.
func Supported() error { return supported(userfaultDevice, userfaultSetting) }

func supported(device, setting string) error {
	fd, err := newUserfault(device, 0)
	if err != nil {
		return fmt.Errorf("userfaultfd: %w; the host's kernel needs CONFIG_USERFAULTFD, and no filter of system calls, "+
			"such as a container's, may be in the way", err)
	}
	defer unix.Close(int(fd))
	have, err := fd.begin(0)
	if err != nil {
		return fmt.Errorf("ask for the features of userfaultfd: %w", err)
	}
	if have&featureRemove == 0 {
		return errors.New("the host's kernel does not tell of memory that is given back (UFFD_FEATURE_EVENT_REMOVE); " +
			"it needs Linux 4.11 or later")
	}
	// In a jail nobody is root. The jailer makes the device there, if the host has it.
	if _, err := os.Stat(device); err == nil {
		return nil
	}
	if only, err := os.ReadFile(setting); err == nil && strings.TrimSpace(string(only)) == "0" {
		return fmt.Errorf("only root may have it, and there is no %s (Linux 6.1) for others; "+
			"`sysctl vm.unprivileged_userfaultfd=1` lets them", device)
	}
	return nil
}

// newUserfault makes a descriptor as Firecracker does: by the device, and by the call only where there is none.
func newUserfault(device string, flags int) (userfault, error) {
	flags |= unix.O_CLOEXEC | unix.O_NONBLOCK
	dev, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		defer dev.Close()
		const newDescriptor = 0xaa00 // USERFAULTFD_IOC_NEW
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, dev.Fd(), newDescriptor, uintptr(flags))
		if errno != 0 {
			return 0, &os.PathError{Op: "ioctl", Path: device, Err: errno}
		}
		return userfault(fd), nil
	case !errors.Is(err, os.ErrNotExist):
		return 0, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return userfault(fd), nil
}

// begin asks for features, and returns those that the kernel has.
func (u userfault) begin(features uint64) (have uint64, err error) {
	a := struct{ api, features, ioctls uint64 }{api: uffdAPI, features: features}
	err = u.ioctl(uffdioAPI, unsafe.Pointer(&a))
	return a.features, err
}
