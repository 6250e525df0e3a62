package egress

import (
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// tcp is what a sandbox's end of a connection can do, by which the host's kernel moves its bytes.
type tcp interface {
	net.Conn
	io.ReaderFrom
	io.WriterTo
	syscall.Conn
	CloseRead() error
	CloseWrite() error
	SetLinger(sec int) error
}

// metered is a sandbox's end of a connection that counts what passes it, as the host's kernel
// knows it: so what the kernel moves by itself is counted, too.
type metered struct {
	tcp
	totals *tally

	mu             sync.Mutex // held during one question to the host's kernel
	closed         bool
	sent, received int64 // by the sandbox, as they were counted
}

// measure counts what has passed since the last time.
func (m *metered) measure() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	raw, err := m.tcp.SyscallConn()
	if err != nil {
		return
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}) != nil || err != nil {
		return
	}
	// What waits to be sent counts: there is no asking once the connection is closed.
	sent, received := int64(info.Bytes_received), int64(info.Bytes_sent-info.Bytes_retrans)+int64(info.Notsent_bytes)
	m.totals.add(familyBytes, directionSent, max(0, sent-m.sent))
	m.totals.add(familyBytes, directionReceived, max(0, received-m.received))
	m.sent, m.received = max(sent, m.sent), max(received, m.received)
}

// Close implements net.Conn.
func (m *metered) Close() error {
	m.measure()
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	return m.tcp.Close()
}
