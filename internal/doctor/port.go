package doctor

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// PortHolder names the process that listens on a TCP address, or says that it
// cannot be seen.
func PortHolder(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "an unknown process"
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return "an unknown process"
	}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode := listeningInode(file, number); inode != "" {
			if holder := socketHolder(inode); holder != "" {
				return holder
			}
		}
	}
	return "an unknown process"
}

// listeningInode finds a listening socket in the kernel's table: the local
// address is field 1, the state field 3 (0A is listening), the inode field 9.
func listeningInode(file string, port int) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[3] == "0A" && strings.HasSuffix(fields[1], suffix) {
			return fields[9]
		}
	}
	return ""
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
