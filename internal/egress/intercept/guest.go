package intercept

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// silentTime is how long a client that has ended its side of the connection waits for more of an
// answer.
const silentTime = time.Minute

// halfOpen is a guest's HTTP/1.1 connection. The server of net/http takes the end of what the
// guest sends for the end of the connection, and would cancel the request. A client may well
// end its side and wait for the answer, so the end is held back until that is written, and the
// server is told of it.
type halfOpen struct {
	*tls.Conn

	mu     sync.Mutex
	ending func()        // is told of the end of what the guest sends; may be nil
	cut    bool          // nobody waits for the answer
	until  time.Time     // of reads
	wrote  time.Time     // at last
	change chan struct{} // is closed and replaced when one of these changes, but for wrote
}

func newHalfOpen(conn *tls.Conn) *halfOpen {
	return &halfOpen{Conn: conn, change: make(chan struct{}), wrote: time.Now()}
}

// set changes something of what hold looks at.
func (h *halfOpen) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	close(h.change)
	h.change = make(chan struct{})
}

// expect says who is to be told of the end of what the guest sends during a request.
func (h *halfOpen) expect(ending func()) { h.set(func() { h.ending = ending }) }

// Read implements net.Conn. The server reads a single byte to learn of the end of the connection
// while a request is answered; for the rest it reads as much as there is.
func (h *halfOpen) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n == 0 && len(p) == 1 && errors.Is(err, io.EOF) {
		err = h.hold()
	}
	return n, err
}

// hold waits until the end may be told.
func (h *halfOpen) hold() error {
	begin := time.Now()
	timer := time.NewTimer(silentTime)
	defer timer.Stop()
	for {
		h.mu.Lock()
		ending, cut, until, since, change := h.ending, h.cut, h.until, h.wrote, h.change
		h.mu.Unlock()
		if since.Before(begin) {
			since = begin
		}
		now := time.Now()
		switch {
		case !until.IsZero() && !now.Before(until):
			return os.ErrDeadlineExceeded
		case cut || now.Sub(since) >= silentTime:
			return io.EOF
		}
		if ending != nil {
			ending()
		}
		wake := since.Add(silentTime)
		if !until.IsZero() && until.Before(wake) {
			wake = until
		}
		timer.Reset(wake.Sub(now))
		select {
		case <-timer.C:
		case <-change:
		}
	}
}

// Write implements net.Conn.
func (h *halfOpen) Write(p []byte) (int, error) {
	n, err := h.Conn.Write(p)
	h.mu.Lock()
	h.wrote = time.Now()
	h.mu.Unlock()
	if err != nil {
		h.set(func() { h.cut = true })
	}
	return n, err
}

// SetReadDeadline implements net.Conn.
func (h *halfOpen) SetReadDeadline(t time.Time) error {
	h.set(func() { h.until = t })
	return h.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (h *halfOpen) SetDeadline(t time.Time) error {
	return errors.Join(h.SetReadDeadline(t), h.SetWriteDeadline(t))
}

// Close implements net.Conn.
func (h *halfOpen) Close() error {
	h.set(func() { h.cut = true })
	return h.Conn.Close()
}

var _ net.Conn = (*halfOpen)(nil)
