package proxy

import (
	"io"
	"net"
	"net/http"
	"net/http/httptrace"

	"golang.org/x/sys/unix"
)

// A file that comes out of a guest comes in packets of 64 KiB, and being woken for
// each costs more than copying it. So for the bulk of a file the kernel is asked
// to wake this process for more at once.
//
// Only downloads from the daemon are read this way: it sends as fast as it can,
// while another service may be slow on purpose, and must not be held back.
const (
	bulkFrom = 4 << 20   // bytes of a body that is worth it
	bulkWake = 512 << 10 // bytes to be woken for
)

// isBulk tells a request whose answer may be a large file.
func isBulk(r *http.Request, rt route) bool {
	return rt.port == envdPort && r.Method == http.MethodGet && r.URL.Path == "/files"
}

// watchConn returns a request that reports the connection it is sent on.
func watchConn(r *http.Request, conn *net.Conn) *http.Request {
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { *conn = info.Conn }}
	return r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
}

// readInBulk wraps the body of an answer that is long enough.
func readInBulk(resp *http.Response, conn net.Conn) {
	tracked, ok := conn.(*trackedConn)
	if !ok || resp.ContentLength < bulkFrom {
		return
	}
	tcp, ok := tracked.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	b := &bulkBody{ReadCloser: resp.Body, tcp: tcp, left: resp.ContentLength}
	b.wakeFor(bulkWake)
	resp.Body = b
}

// bulkBody restores the socket before the end, where fewer bytes come than would
// wake anybody.
type bulkBody struct {
	io.ReadCloser
	tcp  *net.TCPConn
	left int64
	done bool
}

func (b *bulkBody) Read(p []byte) (int, error) {
	if !b.done && b.left < 2*bulkWake {
		b.restore()
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

func (b *bulkBody) Close() error {
	b.restore()
	return b.ReadCloser.Close()
}

func (b *bulkBody) restore() {
	if !b.done {
		b.done = true
		b.wakeFor(1)
	}
}

func (b *bulkBody) wakeFor(bytes int) {
	raw, err := b.tcp.SyscallConn()
	if err != nil {
		return
	}
	// Where the kernel refuses, it wakes more often and nothing else.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes) })
}
