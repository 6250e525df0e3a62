package doctor

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// PortHolder names the process that listens on a TCP address, or returns "an unknown
// process".
func PortHolder(addr string) string {
	const unknown = "an unknown process"
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return unknown
	}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode := listeningInode(file, resolved); inode != "" {
			if holder := socketHolder(inode); holder != "" {
				return holder
			}
		}
	}
	return unknown
}

// listeningInode finds the listening socket for an address in the host kernel's table.
// Field 1 is the local address, field 3 the state (0A means listening), and field 9 the
// inode.
func listeningInode(file string, want *net.TCPAddr) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) <= 9 || fields[3] != "0A" {
			continue
		}
		host, port, _ := strings.Cut(fields[1], ":")
		if port == fmt.Sprintf("%04X", want.Port) && collides(host, want.IP) {
			return fields[9]
		}
	}
	return ""
}

// collides reports whether a listener's address, in the kernel's notation, excludes another
// listener at ip.
func collides(host string, ip net.IP) bool {
	if strings.Trim(host, "0") == "" || ip == nil || ip.IsUnspecified() {
		return true
	}
	v4 := ip.To4()
	// The kernel writes IPv4 addresses as numbers in the machine's byte order.
	return v4 == nil || host == fmt.Sprintf("%08X", binary.NativeEndian.Uint32(v4))
}

func socketHolder(inode string) string {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		name := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
		return fmt.Sprintf("process %s (%s)", pid, name)
	}
	return ""
}
