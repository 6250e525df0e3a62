// Package share serves the directories of volumes to microVMs. Firecracker has no file system that host and
// guest share; but a guest's kernel has FUSE, whose messages the guest's first program relays (package relay)
// over the machine's virtio socket. Here is the other end: one process for each guest and volume.
//
// The guest is an enemy: each message, number, name and size of it is checked, and the process has nothing of
// the host but the directory (confine.go).
//
// A checkpoint has what a server knows of the guest's files (State), and another server goes on with it.
// Messages that were under way then are sent again by the relay: what has been done once is not done twice,
// since the replies are kept for a while.
package share

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
	"shoal/internal/volume/meter"
)

const (
	// atOnce is how many messages are worked at, most of which have up to 1 MiB in memory.
	atOnce = 16
	// maxWaiting is how many may wait for locks besides.
	maxWaiting = 1024
	// keptReplies is how many replies are kept, of messages that must not be done twice.
	keptReplies = 1024
)

// Options say what is served.
type Options struct {
	// Root is a descriptor of the directory, which the server closes never.
	Root int
	// Descriptors is what makes a path of the number of a descriptor of this process: "/proc/self/fd/", or ""
	// where that is the current directory.
	Descriptors string
	// Meter bounds what is written; nil does not.
	Meter *meter.Meter
	// Known is from how many files on the guest's kernel is asked to forget some; 0 is a number that suits the limit
	// of this process's descriptors.
	Known int
	// State is what an earlier server has saved; nil is nothing.
	State *State
}

// Server serves one directory to one guest, over one connection after the other.
type Server struct {
	opts  Options
	turns chan struct{} // one is taken for each message that is worked at
	room  room

	mu      sync.Mutex // a leaf
	nodes   map[uint64]*node
	known   map[key]*node
	handles map[uint64]*handle
	next    uint64 // the next number of a node or handle
	recent  []name // of files, the latest last
	running map[uint64]*request
	waiting int
	saved   bool              // nothing is begun until there is another connection
	done    map[uint64][]byte // replies, by their requests
	order   []uint64          // of those
	idle    *sync.Cond        // nothing is running

	writing sync.Mutex // held during a write; then mu is not taken
	conn    io.ReadWriteCloser
}

// New makes a server. Its state's files are opened.
func New(o Options) (*Server, error) {
	if o.Known == 0 {
		o.Known = knownFiles()
	}
	s := &Server{opts: o, turns: make(chan struct{}, atOnce), room: room{meter: o.Meter}, nodes: map[uint64]*node{},
		known: map[key]*node{}, handles: map[uint64]*handle{}, running: map[uint64]*request{}, done: map[uint64][]byte{}}
	s.idle = sync.NewCond(&s.mu)
	// No other server of the guest has used these numbers: what is open is either found or an error.
	s.next = uint64(time.Now().Unix()) << 24
	root, err := s.newNode(o.Root)
	if err != nil {
		return nil, err
	}
	root.id, root.forever = fuse.Root, true
	s.nodes[fuse.Root], s.known[root.key] = root, root
	if o.State != nil {
		s.takeUp(o.State)
	}
	return s, nil
}

// request is one message that is worked at.
type request struct {
	fuse.Header
	*fuse.Fields
	server *Server

	stop     chan struct{} // closed when who waits is to give up
	stopOnce sync.Once
	why      error // set before
	// resent is the same request over another connection, which came while this one was worked at.
	resent *request
}

func (r *request) giveUp(why error) {
	r.stopOnce.Do(func() { r.why = why; close(r.stop) })
}

// errAgain means that a request is to be sent again, and gets no reply.
var errAgain = errors.New("the connection has ended")

// Serve answers what comes over a connection until that ends. One is served at a time.
func (s *Server) Serve(conn io.ReadWriteCloser) error {
	s.mu.Lock()
	s.saved = false
	s.mu.Unlock()
	s.writing.Lock()
	s.conn = conn
	s.writing.Unlock()
	defer s.drop(conn)
	for {
		message, err := fuse.ReadMessage(conn, fuse.HeaderSize)
		if err != nil {
			return err
		}
		h, err := fuse.ParseHeader(message)
		if err != nil {
			return err
		}
		s.receive(&request{Header: h, Fields: fuse.NewFields(message[fuse.HeaderSize:]), server: s,
			stop: make(chan struct{})})
	}
}

// drop ends a connection, and those who wait for a lock over it.
func (s *Server) drop(conn io.Closer) {
	_ = conn.Close() // whatever else is written fails
	s.writing.Lock()
	if s.conn == conn {
		s.conn = nil
	}
	s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		r.giveUp(errAgain)
	}
}

// receive begins to work at a message. What it starts ends with the answer.
func (s *Server) receive(r *request) {
	switch r.Opcode {
	case fuse.Forget:
		s.forget(r.Node, r.Uint64())
		return
	case fuse.BatchForget:
		s.forgetAll(r)
		return
	case fuse.Interrupt:
		s.interrupt(r.Uint64())
		return
	}
	s.mu.Lock()
	if s.saved {
		s.mu.Unlock()
		return // it will be sent to who goes on
	}
	reply, done := s.done[r.Unique]
	earlier, running := s.running[r.Unique]
	if running {
		earlier.resent = r
	}
	waits := r.Opcode == fuse.SetLockWait
	full := waits && s.waiting >= maxWaiting
	if !done && !running && !full {
		s.running[r.Unique] = r
		if waits {
			s.waiting++
		}
	}
	s.mu.Unlock()
	switch {
	case done:
		s.write(reply)
	case running: // the reply to the earlier one comes over this connection
	case full:
		s.write(fuse.Reply(r.Unique, int(unix.ENOLCK)))
	case waits:
		go s.finish(r, s.do)
	default:
		select {
		case s.turns <- struct{}{}:
		case <-r.stop:
			s.finish(r, func(*request) (*fuse.Body, error) { return nil, r.why })
			return
		}
		go func() {
			defer func() { <-s.turns }()
			s.finish(r, s.do)
		}()
	}
}

// finish does what is asked, and answers.
func (s *Server) finish(r *request, do func(*request) (*fuse.Body, error)) {
	body, err := do(r)
	var reply []byte
	switch {
	case errors.Is(err, errAgain):
	case err != nil:
		reply = fuse.Reply(r.Unique, int(errnoOf(err)))
	case body == nil:
		reply = fuse.Reply(r.Unique, 0)
	default:
		reply = body.Finish(r.Unique)
	}
	s.mu.Lock()
	resent := r.resent
	delete(s.running, r.Unique)
	if r.Opcode == fuse.SetLockWait {
		s.waiting--
	}
	if reply != nil && once(r.Opcode) {
		s.keep(r.Unique, reply)
	}
	if len(s.running) == 0 {
		s.idle.Broadcast()
	}
	s.mu.Unlock()
	switch {
	case reply != nil:
		s.write(reply)
	case resent != nil:
		s.receive(resent)
	}
}

// keep keeps a reply. The caller holds mu.
func (s *Server) keep(unique uint64, reply []byte) {
	if _, ok := s.done[unique]; !ok {
		s.order = append(s.order, unique)
	}
	s.done[unique] = reply
	if len(s.order) > keptReplies {
		delete(s.done, s.order[0])
		s.order = s.order[1:]
	}
}

// write sends a reply over the connection that there is, if there is one. An error shows when that is read.
func (s *Server) write(reply []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.conn != nil {
		_, _ = s.conn.Write(reply)
	}
}

func (s *Server) interrupt(unique uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[unique]; r != nil {
		r.giveUp(unix.EINTR)
		if r.resent != nil {
			r.resent.giveUp(unix.EINTR)
		}
	}
}

// errnoOf is what a guest is told of an error.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	switch {
	case errors.Is(err, fuse.ErrMalformed):
		return unix.EINVAL
	case errors.As(err, &errno):
		return errno
	}
	return unix.EIO
}

// finishTime bounds how long requests under way may take when a state is saved: those of a file system that is
// away are sent again.
const finishTime = 5 * time.Second

// Save ends the connection, and returns what another server needs to go on. This one may be connected again.
func (s *Server) Save(ctx context.Context) *State {
	s.mu.Lock()
	s.saved = true
	s.mu.Unlock()
	s.writing.Lock()
	conn := s.conn
	s.writing.Unlock()
	if conn != nil {
		s.drop(conn)
	}
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { s.mu.Lock(); s.idle.Broadcast(); s.mu.Unlock() })()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.running) > 0 && ctx.Err() == nil {
		s.idle.Wait()
	}
	return s.state()
}
