package doctor

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
)

// PortHolder names the process that listens on a TCP address, or returns "an unknown
// process".
func PortHolder(addr string) string {
	const unknown = "an unknown process"
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return unknown
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return unknown
	}
	for _, read := range []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6} {
		sockets, err := read()
		if err != nil {
			continue // a kernel without IPv6
		}
		if inode, ok := listeningInode(sockets, resolved); ok {
			if holder := socketHolder(fs, inode); holder != "" {
				return holder
			}
		}
	}
	return unknown
}

// listening is the state of a listening socket in the kernel's table.
const listening = 0x0A

// listeningInode finds the listening socket that takes an address.
func listeningInode(sockets procfs.NetTCP, want *net.TCPAddr) (inode uint64, ok bool) {
	for _, s := range sockets {
		if s.St == listening && s.LocalPort == uint64(want.Port) && collides(s.LocalAddr, want.IP) {
			return s.Inode, true
		}
	}
	return 0, false
}

// collides tells whether a listener's address excludes another listener at ip.
func collides(listener, ip net.IP) bool {
	if listener.IsUnspecified() || ip == nil || ip.IsUnspecified() {
		return true
	}
	return ip.To4() == nil || listener.Equal(ip)
}

// socketHolder describes the process that has a socket open; "" if it cannot be seen.
func socketHolder(fs procfs.FS, inode uint64) string {
	processes, err := fs.AllProcs()
	if err != nil {
		return ""
	}
	for _, p := range processes {
		targets, err := p.FileDescriptorTargets()
		if err != nil || !slices.Contains(targets, fmt.Sprintf("socket:[%d]", inode)) {
			continue
		}
		args, _ := p.CmdLine()
		return fmt.Sprintf("process %d (%s)", p.PID, strings.Join(args, " "))
	}
	return ""
}
