package doctor

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PortHolder names the process that listens on a TCP address, or returns "an unknown
// process".
func PortHolder(addr string) string {
	const unknown = "an unknown process"
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return unknown
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCP(family)
		if err != nil {
			continue // a host's kernel that does not tell
		}
		if inode, ok := listeningInode(sockets, resolved); ok {
			if holder := socketHolder(inode); holder != "" {
				return holder
			}
		}
	}
	return unknown
}

// listeningInode finds the listening socket that takes an address.
func listeningInode(sockets []*netlink.Socket, want *net.TCPAddr) (inode uint32, ok bool) {
	for _, s := range sockets {
		if s.State == netlink.TCP_LISTEN && int(s.ID.SourcePort) == want.Port && collides(s.ID.Source, want.IP) {
			return s.INode, true
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
func socketHolder(inode uint32) string {
	processes, err := procfs.AllProcs()
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
