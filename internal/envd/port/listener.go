// Package port makes servers that listen only on the guest's loopback
// reachable at its external address (envd.md §4.5).
package port

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// listener is a TCP socket that listens on the loopback address of one family.
type listener struct {
	port uint16
	ipv6 bool
}

// target is the address to relay to.
func (l listener) target() string {
	if l.ipv6 {
		return "[::1]:" + strconv.Itoa(int(l.port))
	}
	return "127.0.0.1:" + strconv.Itoa(int(l.port))
}

// table is one of the kernel's lists of TCP sockets. It stays open, so that each look costs
// little more than a read: that matters in an idle guest, and github.com/prometheus/procfs
// opens it each time.
type table struct {
	path  string
	ipv6  bool
	local []byte // the loopback address as the kernel prints it
	fd    int    // -1 when not open
	buf   []byte
}

// The kernel prints addresses as 32-bit words of the machine's byte order;
// both supported machines are little-endian.
func newTables() []*table {
	return []*table{
		{path: "/proc/net/tcp", local: []byte("0100007F:"), fd: -1},
		{path: "/proc/net/tcp6", ipv6: true, local: []byte("00000000000000000000000001000000:"), fd: -1},
	}
}

// scan adds the loopback listeners to found.
func (t *table) scan(found map[listener]bool) error {
	data, err := t.read()
	if errors.Is(err, unix.ENOENT) {
		return nil // a kernel without this family
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", t.path, err)
	}
	for line := range bytes.Lines(data) {
		if port, ok := t.parse(line); ok {
			found[listener{port, t.ipv6}] = true
		}
	}
	return nil
}

// parse takes a line such as
// "   0: 0100007F:1F90 00000000:0000 0A ..." whose 0A means LISTEN.
func (t *table) parse(line []byte) (uint16, bool) {
	_, rest, ok := bytes.Cut(line, []byte(": "))
	if !ok || !bytes.HasPrefix(rest, t.local) {
		return 0, false
	}
	fields := bytes.Fields(rest)
	if len(fields) < 3 || string(fields[2]) != "0A" {
		return 0, false
	}
	port, err := strconv.ParseUint(string(fields[0][len(t.local):]), 16, 16)
	return uint16(port), err == nil && port != 0
}

func (t *table) read() ([]byte, error) {
	if t.fd < 0 {
		fd, err := unix.Open(t.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		t.fd = fd
	}
	if t.buf == nil {
		t.buf = make([]byte, 8<<10)
	}
	n := 0
	for {
		m, err := unix.Pread(t.fd, t.buf[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.close()
			return nil, err
		}
		if n += m; m == 0 {
			return t.buf[:n], nil
		}
		if n == len(t.buf) {
			t.buf = append(t.buf, make([]byte, n)...)
		}
	}
}

func (t *table) close() {
	if t.fd >= 0 {
		_ = unix.Close(t.fd)
		t.fd = -1
	}
}
