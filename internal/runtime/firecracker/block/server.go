package block

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Device is what a server serves.
type Device interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	// Flush makes durable what was changed by calls that have returned.
	Flush() error
	Trim(off, length int64) error
	WriteZeroes(off, length int64, allocate bool) error
	Size() int64
}

var _ Device = (*Disk)(nil)

const (
	// inFlight is how many requests of a connection are worked on at once.
	inFlight = 16
	// heldBytes bounds the payloads that a server holds at once, of all its connections.
	heldBytes = maxPayload + 8<<20
	// handshakeTime bounds a handshake, and replyTime how long a client may take to read a reply.
	handshakeTime = 10 * time.Second
	replyTime     = time.Minute
	readBuffer    = 64 << 10
)

// ErrProtocol means that a client sent what is no request; its connection is ended.
var ErrProtocol = errors.New("no request of an NBD client")

// Server serves one device to any number of connections.
type Server struct {
	device Device
	name   string
	log    *slog.Logger
	held   *semaphore.Weighted // bytes of payloads
	pools  [2]sync.Pool        // of *[]byte, each as long as pooled says
}

// pooled is how long the payloads are that are used again: those of files' pages, and the largest that
// Linux sends unless it is told to.
var pooled = [2]int{256 << 10, 2 << 20}

// NewServer makes a server of a device that clients may call by a name. log may be nil.
func NewServer(device Device, name string, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{device: device, name: name, log: log, held: semaphore.NewWeighted(heldBytes)}
	for i, length := range pooled {
		s.pools[i].New = func() any { p := make([]byte, length); return &p }
	}
	return s
}

// ServeClient serves a client that begins with a handshake, as programs do; see Serve.
func (s *Server) ServeClient(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := handshake(conn, s.name, s.device.Size())
	stop()
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return s.Serve(ctx, conn)
}

// Serve serves a client that is in the transmission phase, as the kernel's is. It returns when the
// client has ended that (nil), when the connection was lost or ctx has ended, and always after the last
// request that was taken is done: nothing changes the device on behalf of the connection afterwards.
func (s *Server) Serve(ctx context.Context, conn net.Conn) error {
	c := &connection{server: s, conn: conn, slots: make(chan struct{}, inFlight)}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err := c.read(ctx)
	c.working.Wait()
	conn.Close()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF // clients say that they go
	}
	return err
}

// connection is one client's.
type connection struct {
	server  *Server
	conn    net.Conn
	slots   chan struct{}  // taken by requests that are worked on
	working sync.WaitGroup // their goroutines, which Serve waits for

	writing sync.Mutex // guards what is sent
}

// read takes requests until the client ends, and starts a goroutine for each.
func (c *connection) read(ctx context.Context) error {
	in := bufio.NewReaderSize(c.conn, readBuffer)
	for {
		var head [requestSize]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		r, err := decodeRequest(&head)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if r.command == commandEnd {
			return nil
		}
		code := r.check(c.server.device.Size())
		if r.command == commandWrite && r.length > maxPayload {
			// The payload would have to be read to get to the next request.
			return fmt.Errorf("%w: a write of %d bytes", ErrProtocol, r.length)
		}
		if code != 0 {
			if r.command == commandWrite {
				if _, err := in.Discard(int(r.length)); err != nil {
					return err
				}
			}
			if err := c.reply(r, code, nil); err != nil {
				return err
			}
			continue
		}
		if err := c.take(ctx, in, r); err != nil {
			return err
		}
	}
}

// take waits until there is room for a request, reads its payload and has it done.
func (c *connection) take(ctx context.Context, in io.Reader, r request) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	var payload []byte
	var whole *[]byte
	weight := int64(0)
	if r.command == commandRead || r.command == commandWrite {
		weight = max(int64(r.length), int64(pooled[0]))
		if err := c.server.held.Acquire(ctx, weight); err != nil {
			<-c.slots
			return err
		}
		whole, payload = c.server.buffer(int(r.length))
	}
	release := func() {
		c.server.putBack(whole)
		c.server.held.Release(weight)
		<-c.slots
	}
	if r.command == commandWrite {
		if _, err := io.ReadFull(in, payload); err != nil {
			release()
			return err
		}
	}
	c.working.Go(func() {
		defer release()
		code := c.server.do(r, payload)
		if code != 0 || r.command != commandRead {
			payload = nil
		}
		if err := c.reply(r, code, payload); err != nil {
			c.conn.Close() // which ends read, too
		}
	})
	return nil
}

// buffer has room for a payload. The first result is for putBack.
func (s *Server) buffer(length int) (*[]byte, []byte) {
	for i := range pooled {
		if length <= pooled[i] {
			p := s.pools[i].Get().(*[]byte)
			return p, (*p)[:length]
		}
	}
	return nil, make([]byte, length)
}

func (s *Server) putBack(p *[]byte) {
	for i := range pooled {
		if p != nil && len(*p) == pooled[i] {
			s.pools[i].Put(p)
		}
	}
}

// do has the device do what is asked, and returns an error for the wire.
func (s *Server) do(r request, payload []byte) uint32 {
	off, length := int64(r.offset), int64(r.length)
	var err error
	switch r.command {
	case commandRead:
		_, err = s.device.ReadAt(payload, off)
	case commandWrite:
		_, err = s.device.WriteAt(payload, off)
	case commandTrim:
		err = s.device.Trim(off, length)
	case commandZeroes:
		err = s.device.WriteZeroes(off, length, r.flags&flagNoHole != 0)
	case commandFlush:
		err = s.device.Flush()
	}
	if err == nil && r.flags&flagFUA != 0 && r.command != commandRead && r.command != commandFlush {
		err = s.device.Flush()
	}
	if err == nil {
		return 0
	}
	s.log.Error("a request to a disk failed", "disk", s.name, "command", r.command, "offset", off, "length", length, "err", err)
	switch {
	case errors.Is(err, ErrFull):
		return wireNoSpace
	case errors.Is(err, ErrRange):
		return wireInvalid
	case errors.Is(err, ErrClosed):
		return wireShutdown
	}
	return wireIO
}

// reply sends a reply as a whole.
func (c *connection) reply(r request, code uint32, payload []byte) error {
	var head [replySize]byte
	encodeReply(&head, r.cookie, code)
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(replyTime)); err != nil {
		return err
	}
	parts := net.Buffers{head[:]}
	if len(payload) > 0 {
		parts = append(parts, payload)
	}
	if _, err := parts.WriteTo(c.conn); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}
