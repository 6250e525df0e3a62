package egress

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"

	"shoal/internal/egress/greeting"
)

// relay moves bytes both ways until both ends have sent all. What was read of the guest already
// goes first.
func relay(guest, server net.Conn, first []byte) error {
	return both(guest, server, func() error {
		if len(first) > 0 {
			if _, err := server.Write(first); err != nil {
				return err
			}
		}
		_, err := io.Copy(server, guest) // by the host's kernel, between two TCP connections
		return err
	})
}

// both runs up, from the guest to the server, and the way back. An end of what one side sends is
// passed on, while the other may go on to send. A failure ends both ways.
func both(guest, server net.Conn, up func() error) error {
	var ways sync.WaitGroup
	var there, back error
	ways.Go(func() {
		if there = up(); there == nil {
			there = closeWrite(server)
		}
		if there != nil {
			abort(guest)
			abort(server)
		}
	})
	ways.Go(func() {
		if _, back = io.Copy(guest, server); back == nil {
			back = closeWrite(guest)
		}
		if back != nil {
			abort(guest)
			abort(server)
		}
	})
	ways.Wait()
	return errors.Join(there, back)
}

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// errOtherHost means that a later request on a connection is for another host than the first,
// or cannot be read without a doubt.
var errOtherHost = errors.New("a request is not for the host that the connection was opened for")

// relayRequests is relay for HTTP to a host that is allowed by its name. The server is that host,
// but it may be others too: so each request on the connection must be for it. Bytes go through
// as they came; what could be read in two ways ends the connection.
func relayRequests(c *connection, server net.Conn, first []byte) error {
	switched := make(chan bool, 1)
	gate := &upgradeGate{Conn: server, switched: switched}
	return both(c.guest, gate, func() error {
		r := requests{host: c.name, guest: c.guest, server: server, buffer: first, switched: switched}
		return r.pass()
	})
}

// requests passes the requests of one connection on.
type requests struct {
	host          string
	guest, server net.Conn
	buffer        []byte // read and not passed on
	switched      <-chan bool
}

func (r *requests) pass() error {
	for number := 0; ; number++ {
		head, err := r.head()
		if err != nil || head.Size == 0 {
			return err
		}
		if head.Host != r.host {
			return errOtherHost
		}
		if head.Upgrade && number > 0 {
			return errOtherHost // the answer to it could not be told from those before
		}
		if err := r.forward(head.Size); err != nil {
			return err
		}
		if err := r.body(greeting.NewBody(head)); err != nil {
			return err
		}
		if head.Upgrade && <-r.switched {
			if err := r.forward(len(r.buffer)); err != nil {
				return err
			}
			_, err := io.Copy(r.server, r.guest)
			return err
		}
	}
}

// head reads the next request's. At the end of what the guest sends its size is 0.
func (r *requests) head() (greeting.Head, error) {
	for {
		if len(r.buffer) > 0 {
			head, err := greeting.ParseHead(r.buffer)
			if err == nil {
				return head, nil
			}
			if !errors.Is(err, greeting.ErrMore) {
				return greeting.Head{}, errOtherHost
			}
		}
		ended, err := r.read()
		if ended && len(r.buffer) == 0 {
			return greeting.Head{}, nil
		}
		if ended {
			return greeting.Head{}, io.ErrUnexpectedEOF
		}
		if err != nil {
			return greeting.Head{}, err
		}
	}
}

func (r *requests) body(b *greeting.Body) error {
	for !b.Done() {
		n, err := b.Take(r.buffer)
		if err != nil && !errors.Is(err, greeting.ErrMore) {
			return errOtherHost
		}
		if err := r.forward(n); err != nil {
			return err
		}
		if b.Done() {
			return nil
		}
		if left := b.Left(); len(r.buffer) == 0 && left >= movedFrom {
			moved, err := r.move(left)
			if err != nil {
				return err
			}
			b.Skip(moved)
			continue
		}
		ended, err := r.read()
		if ended {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// movedFrom is how much of a body must be to come, in bytes, for the host's kernel to move it.
const movedFrom = 64 << 10

// move has the host's kernel pass on n bytes that the guest is still to send.
func (r *requests) move(n int64) (int64, error) {
	guest := io.Reader(r.guest)
	if wrapped, ok := r.guest.(interface{ NetConn() net.Conn }); ok {
		guest = wrapped.NetConn() // only from a TCP connection itself
	}
	moved, err := io.CopyN(r.server, guest, n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return moved, err
}

const requestBuffer = 32 << 10

// read adds to the buffer what the guest sends.
func (r *requests) read() (ended bool, err error) {
	r.buffer = slices.Grow(r.buffer, requestBuffer)
	n, err := r.guest.Read(r.buffer[len(r.buffer):cap(r.buffer)])
	r.buffer = r.buffer[:len(r.buffer)+n]
	if errors.Is(err, io.EOF) {
		return n == 0, nil
	}
	return false, err
}

// forward passes the first n bytes of the buffer on.
func (r *requests) forward(n int) error {
	_, err := r.server.Write(r.buffer[:n])
	r.buffer = append(r.buffer[:0], r.buffer[n:]...)
	return err
}

// upgradeGate sees from the beginning of a server's first answer whether it speaks another
// protocol from then on.
type upgradeGate struct {
	net.Conn
	switched chan<- bool
	seen     []byte
	told     bool
}

const switching = "HTTP/1.1 101"

// Read implements net.Conn.
func (g *upgradeGate) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.told {
		g.seen = append(g.seen, p[:min(n, len(switching)-len(g.seen))]...)
		if err != nil || len(g.seen) == len(switching) {
			g.told = true
			g.switched <- string(g.seen) == switching
		}
	}
	return n, err
}

// WriteTo implements io.WriterTo: once the beginning is seen, the host's kernel moves the rest.
func (g *upgradeGate) WriteTo(w io.Writer) (sum int64, err error) {
	for buffer := make([]byte, requestBuffer); !g.told; {
		n, err := g.Read(buffer)
		written, failed := w.Write(buffer[:n])
		sum += int64(written)
		if failed != nil {
			return sum, failed
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
	n, err := io.Copy(w, g.Conn)
	return sum + n, err
}

// CloseWrite passes on the end of what the guest sends.
func (g *upgradeGate) CloseWrite() error { return closeWrite(g.Conn) }

// SetLinger lets abort reset the connection.
func (g *upgradeGate) SetLinger(sec int) error {
	if l, ok := g.Conn.(interface{ SetLinger(sec int) error }); ok {
		return l.SetLinger(sec)
	}
	return nil
}
