package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// loopbackOfANewNamespace says what its interface has at first and as each step is done that
// bubblewrap does, and what the interface of another has that is only brought up.
func loopbackOfANewNamespace() (string, error) {
	if os.Getenv("IN_NAMESPACE") == "" {
		child := self("loopback")
		child.Env = append(os.Environ(), "IN_NAMESPACE=1")
		child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		out, err := child.CombinedOutput()
		return string(out), err
	}
	text := fmt.Sprintln("new:", loopback())
	if err := netlink(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, addressOfLoopback()); err != nil {
		return text, fmt.Errorf("add 127.0.0.1: %w", err)
	}
	text += fmt.Sprintln("with an address:", loopback())
	if err := netlink(unix.RTM_NEWLINK, 0, loopbackIsUp()); err != nil {
		return text, fmt.Errorf("bring it up: %w", err)
	}
	text += fmt.Sprintln("up:", loopback())
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return text, err
	}
	if _, err := net.Dial("tcp4", l.Addr().String()); err != nil {
		return text, err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return text, err
	}
	err = netlink(unix.RTM_NEWLINK, 0, loopbackIsUp())
	return text + fmt.Sprintln("only up:", loopback()), err
}

func loopback() string {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err.Error()
	}
	addrs, err := lo.Addrs()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(lo.Flags, addrs)
}

const loopbackIndex = 1

func addressOfLoopback() []byte {
	body := []byte{unix.AF_INET, 8, 0, unix.RT_SCOPE_HOST, loopbackIndex, 0, 0, 0}
	for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		body = binary.NativeEndian.AppendUint16(body, 8)
		body = binary.NativeEndian.AppendUint16(body, kind)
		body = append(body, 127, 0, 0, 1)
	}
	return body
}

func loopbackIsUp() []byte {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], loopbackIndex)
	binary.NativeEndian.PutUint32(body[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(body[12:], unix.IFF_UP)
	return body
}

// netlink sends one request and returns what the kernel answers to it.
func netlink(kind, flags uint16, body []byte) error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	request = binary.NativeEndian.AppendUint16(request, kind)
	request = binary.NativeEndian.AppendUint16(request, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	request = append(append(request, make([]byte, 8)...), body...)
	if err := unix.Sendto(socket, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(socket, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("an answer of %d bytes: %w", n, err)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}
