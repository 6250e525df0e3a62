package intercept

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// silentTime is how long a client that has ended its side of the connection waits for more of an
// answer.
const silentTime = time.Minute

// halfOpen is a guest's HTTP/1.1 connection. The server of net/http takes the end of what the
// guest sends for the end of the connection, and would cancel the request. A client may well
// end its side and wait for the answer, so the end is held back until that is written.
type halfOpen struct {
	*tls.Conn

	mu     sync.Mutex
	active bool          // a request is under way
	body   bool          // of which the body has not ended
	change chan struct{} // is closed and replaced when one of these, or the deadline, changes
	until  time.Time     // of reads
	wrote  time.Time
}

func newHalfOpen(conn *tls.Conn) *halfOpen {
	return &halfOpen{Conn: conn, change: make(chan struct{}), wrote: time.Now()}
}

// note follows the server's states; it is told of every change.
func (h *halfOpen) note(state http.ConnState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active, h.body = state == http.StateActive, false
	h.changed()
}

// receive tells whether a request's body is still to come. Its end must not be held back.
func (h *halfOpen) receive(body bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.body = body
	h.changed()
}

func (h *halfOpen) changed() {
	close(h.change)
	h.change = make(chan struct{})
}

// Read implements net.Conn.
func (h *halfOpen) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 || !errors.Is(err, io.EOF) {
		return n, err
	}
	return 0, h.hold()
}

// hold waits until the end may be told.
func (h *halfOpen) hold() error {
	timer := time.NewTimer(silentTime)
	defer timer.Stop()
	for {
		h.mu.Lock()
		busy, change, until, wrote := h.active && !h.body, h.change, h.until, h.wrote
		h.mu.Unlock()
		now := time.Now()
		switch {
		case !until.IsZero() && !now.Before(until):
			return errDeadline{}
		case !busy || now.Sub(wrote) >= silentTime:
			return io.EOF
		}
		wake := wrote.Add(silentTime)
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
	defer h.mu.Unlock()
	h.wrote = time.Now()
	if err != nil {
		h.active = false // nobody waits for the answer
		h.changed()
	}
	return n, err
}

// SetReadDeadline implements net.Conn.
func (h *halfOpen) SetReadDeadline(t time.Time) error {
	h.mu.Lock()
	h.until = t
	h.changed()
	h.mu.Unlock()
	return h.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (h *halfOpen) SetDeadline(t time.Time) error {
	return errors.Join(h.SetReadDeadline(t), h.SetWriteDeadline(t))
}

// Close implements net.Conn.
func (h *halfOpen) Close() error {
	h.note(http.StateClosed)
	return h.Conn.Close()
}

// errDeadline is what a read says whose deadline has passed.
type errDeadline struct{}

var _ net.Error = errDeadline{}

func (errDeadline) Error() string   { return "the deadline has passed" }
func (errDeadline) Timeout() bool   { return true }
func (errDeadline) Temporary() bool { return true }
