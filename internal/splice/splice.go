// Package splice has the host's kernel move what a client of an HTTP server sends to another connection, so
// that it is not copied into this process and out of it again.
package splice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener gives a server connections that Through can be used on.
type Listener struct{ net.Listener }

// Accept returns the next connection. One that is not of TCP is returned as it is.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	under := c
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok {
		under = outer.NetConn()
	}
	tcp, ok := under.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c, nil //nolint:nilerr // whoever uses it learns what is wrong with it
	}
	return &Conn{TCPConn: tcp, raw: raw, outer: c}, nil
}

// Conn is a client's connection as a server reads it. It has all methods of a TCP connection, by which the
// library moves files.
type Conn struct {
	*net.TCPConn
	raw   syscall.RawConn
	outer net.Conn // as it was accepted, to be closed
	// asked is of the one goroutine that reads a request's body. The first read that it is for takes it, after
	// which the server may read in another goroutine.
	asked *request
}

// request is what Through wants of the next read.
type request struct {
	to    *Sink
	taken bool
	moved int
}

var _ net.Conn = (*Conn)(nil)

// Close implements net.Conn.
func (c *Conn) Close() error { return c.outer.Close() }

// NetConn is the TCP connection.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// Read implements net.Conn. In Through it moves as many bytes as there is room for in p, and leaves p as it is.
func (c *Conn) Read(p []byte) (n int, err error) {
	asked := c.asked
	if asked == nil || len(p) < smallest {
		return c.TCPConn.Read(p)
	}
	c.asked, asked.taken = nil, true
	asked.moved, err = asked.to.take(c.raw, len(p))
	return asked.moved, err
}

// smallest is the shortest read that is moved, in bytes: shorter ones are of the server itself, which fills a
// buffer of its own.
const smallest = 32 << 10

// Through reads a request's body that comes over the connection. If the server passes the read on to the
// connection, the bytes go to the sink and not into p, which is what moved says; otherwise they are in p. Bytes
// that the sink did not take are lost; its error is returned then, and Err of the sink has it. Through must not
// be used for the last bytes of a body, after which the server reads for itself, nor when the request has ended.
func (c *Conn) Through(body io.Reader, p []byte, to *Sink) (n int, moved bool, err error) {
	asked := &request{to: to}
	c.asked = asked
	n, err = body.Read(p)
	if !asked.taken {
		c.asked = nil
	}
	if to.err != nil {
		err = to.err
	}
	return n, asked.moved > 0, err
}

type connKey struct{}

// Context is that of a connection's requests, for http.Server.ConnContext.
func Context(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*Conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// Of returns the connection of a request, by its context; nil if it came otherwise, as by TLS.
func Of(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Sink is where bytes are moved to. It holds two descriptors until it is closed.
type Sink struct {
	to      syscall.RawConn
	out, in int // the ends of a pipe, which is empty between two calls of take
	err     error
}

// pipeSize is how much is moved at once, in bytes. If the host does not allow so much, it is less.
const pipeSize = 1 << 20

// NewSink returns a sink that leads to a connection.
func NewSink(to *net.TCPConn) (*Sink, error) {
	raw, err := to.SyscallConn()
	if err != nil {
		return nil, err
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, pipeSize)
	return &Sink{to: raw, out: ends[0], in: ends[1]}, nil
}

// Close gives the descriptors back, and leaves the connection open.
func (s *Sink) Close() error { return errors.Join(unix.Close(s.in), unix.Close(s.out)) }

// Err is the error of the connection that the sink leads to, after which it takes nothing more.
func (s *Sink) Err() error { return s.err }

// take moves so many bytes, or fewer with an error of the connection that they come from. When the other one
// fails, it returns how many it has taken, and Err says why they did not arrive: the server would take an error
// for the client's end.
func (s *Sink) take(from syscall.RawConn, most int) (taken int, err error) {
	for taken < most && s.err == nil {
		n, err := wait(from.Read, func(fd int) (int, error) { return move(fd, s.in, most-taken) })
		switch {
		case err != nil:
			return taken, fmt.Errorf("take from a connection: %w", err)
		case n == 0:
			return taken, io.EOF
		}
		taken += n
		s.err = s.drain(n)
	}
	return taken, nil
}

// drain empties the pipe into the connection.
func (s *Sink) drain(left int) error {
	for left > 0 {
		n, err := wait(s.to.Write, func(fd int) (int, error) { return move(s.out, fd, left) })
		if err == nil && n == 0 {
			err = io.ErrNoProgress
		}
		if err != nil {
			return fmt.Errorf("give to a connection: %w", err)
		}
		left -= n
	}
	return nil
}

// wait repeats what would block when the connection is ready.
func wait(ready func(func(uintptr) bool) error, do func(fd int) (int, error)) (n int, err error) {
	waitErr := ready(func(fd uintptr) bool {
		n, err = do(int(fd))
		return !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return n, err
}

func move(from, to, most int) (int, error) {
	for {
		n, err := unix.Splice(from, nil, to, nil, most, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if !errors.Is(err, unix.EINTR) {
			return int(n), err
		}
	}
}
