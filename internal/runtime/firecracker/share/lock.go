package share

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// locks are what a guest has locked of one file. They are the host's, so they hold between guests and with
// programs of the host: those of whole files (flock) are of the open file, those of parts (fcntl) of an open
// file of its own for each process of the guest.
type locks struct {
	mu     sync.Mutex // taken after Server.mu
	owners map[uint64]*owner
	lost   int // open files whose lock on all of the file somebody else has had
}

// owner is a process of the guest, as its kernel names it for locks.
type owner struct {
	fd   int
	has  []span
	lost []span // what somebody else has had meanwhile
}

// span is a part of a file, its end included, with the kind of its lock.
type span struct {
	Start, End uint64
	Type       uint32
}

// lastByte is the end of a lock without an end.
const lastByte = 1<<63 - 1

// without cuts a part out of spans.
func without(spans []span, cut span) []span {
	var rest []span
	for _, p := range spans {
		if p.End < cut.Start || p.Start > cut.End {
			rest = append(rest, p)
			continue
		}
		if p.Start < cut.Start {
			rest = append(rest, span{p.Start, cut.Start - 1, p.Type})
		}
		if p.End > cut.End {
			rest = append(rest, span{cut.End + 1, p.End, p.Type})
		}
	}
	return rest
}

// sound is an error while somebody else has had a lock that the guest believes to have.
func (s *Server) sound(n *node) error {
	n.locks.mu.Lock()
	defer n.locks.mu.Unlock()
	return n.locks.sound()
}

func (l *locks) sound() error {
	if l.lost > 0 {
		return unix.EIO
	}
	for _, o := range l.owners {
		if len(o.lost) > 0 {
			return unix.EIO
		}
	}
	return nil
}

func (l *locks) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.owners {
		unix.Close(o.fd)
	}
	l.owners = nil
}

// lockRequest is what a message about a lock says.
type lockRequest struct {
	handle, owner uint64
	span
	flock bool // of the whole file
}

// wholeFile is a flag of messages about locks.
const wholeFile = 1 << 0

func readLock(r *request) (lockRequest, error) {
	q := lockRequest{handle: r.Uint64(), owner: r.Uint64(), span: span{r.Uint64(), r.Uint64(), r.Uint32()}}
	r.Skip(4)
	q.flock = r.Uint32()&wholeFile != 0
	if err := r.Err(); err != nil {
		return q, err
	}
	if q.Start > q.End || q.End > lastByte || q.Type > unix.F_UNLCK {
		return q, unix.EINVAL
	}
	return q, nil
}

// Between two tries for a lock that somebody else has.
const (
	firstTry = time.Millisecond
	lastTry  = 25 * time.Millisecond
)

func (s *Server) setLock(r *request) (*fuse.Body, error) {
	q, err := readLock(r)
	if err != nil {
		return nil, err
	}
	h, err := s.handle(q.handle)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	if h.node.kind != unix.S_IFREG && !q.flock {
		return nil, unix.EINVAL
	}
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		err := s.tryLock(h, q)
		if r.Opcode != fuse.SetLockWait || !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-r.stop:
			return nil, r.why
		}
	}
}

func (s *Server) tryLock(h *handle, q lockRequest) error {
	l := &h.node.locks
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.Type != unix.F_UNLCK {
		if err := l.sound(); err != nil {
			return err
		}
	}
	if q.flock {
		return l.lockWhole(h, q.Type)
	}
	return l.lockPart(s, h.node, q.owner, q.span)
}

// lockWhole locks all of a file, or unlocks it. The caller holds mu.
func (l *locks) lockWhole(h *handle, kind uint32) error {
	how := map[uint32]int{unix.F_RDLCK: unix.LOCK_SH, unix.F_WRLCK: unix.LOCK_EX, unix.F_UNLCK: unix.LOCK_UN}[kind]
	if err := unix.Flock(h.fd, how|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EAGAIN) && h.flock != unix.F_UNLCK {
			h.flock = unix.F_UNLCK // the host has let go of the other kind
		}
		return err
	}
	h.flock = kind
	if kind == unix.F_UNLCK && h.flockLost {
		h.flockLost = false
		l.lost--
	}
	return nil
}

// lockPart locks a part of a file, or unlocks it. The caller holds mu.
func (l *locks) lockPart(s *Server, n *node, id uint64, part span) error {
	o := l.owners[id]
	if o == nil {
		if part.Type == unix.F_UNLCK {
			return nil
		}
		var err error
		if o, err = s.newOwner(n); err != nil {
			return err
		}
		if l.owners == nil {
			l.owners = map[uint64]*owner{}
		}
		l.owners[id] = o
	}
	err := part.set(o.fd)
	if err == nil {
		o.has = without(o.has, part)
		if part.Type == unix.F_UNLCK {
			o.lost = without(o.lost, part)
		} else {
			o.has = append(o.has, part)
		}
	}
	l.removeIdle(id)
	return err
}

// removeIdle forgets a process without locks. The caller holds mu.
func (l *locks) removeIdle(id uint64) {
	if o := l.owners[id]; o != nil && len(o.has)+len(o.lost) == 0 {
		unix.Close(o.fd)
		delete(l.owners, id)
	}
}

func (s *Server) newOwner(n *node) (*owner, error) {
	fd, err := unix.Open(s.path(n), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil { // it may be executed, or of a file system that is only read
		fd, err = unix.Open(s.path(n), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, err
	}
	return &owner{fd: fd}, nil
}

// host is a span as the host's kernel has it.
func (p span) host() *unix.Flock_t {
	l := &unix.Flock_t{Type: int16(p.Type), Start: int64(p.Start), Len: int64(p.End-p.Start) + 1}
	if p.End == lastByte {
		l.Len = 0
	}
	return l
}

func (p span) set(fd int) error {
	err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, p.host())
	if errors.Is(err, unix.EACCES) {
		return unix.EAGAIN
	}
	return err
}

// unlockOwner lets go of all that a process has locked of parts.
func (l *locks) unlockOwner(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.owners[id]; o != nil {
		unix.Close(o.fd)
		delete(l.owners, id)
	}
}

// unlockWhole has an open file that is to be closed lose nothing any more.
func (l *locks) unlockWhole(h *handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.flockLost {
		h.flockLost = false
		l.lost--
	}
	h.flock = unix.F_UNLCK
	if h.fd >= 0 {
		_ = unix.Flock(h.fd, unix.LOCK_UN) // requests may still use it
	}
}

func (s *Server) getLock(r *request) (*fuse.Body, error) {
	q, err := readLock(r)
	if err != nil {
		return nil, err
	}
	h, err := s.soundHandle(q.handle)
	if err != nil {
		return nil, err
	}
	defer s.put(h)
	l := &h.node.locks
	l.mu.Lock()
	defer l.mu.Unlock()
	fd := h.fd
	if o := l.owners[q.owner]; o != nil {
		fd = o.fd
	}
	other := q.span.host()
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, other); err != nil {
		return nil, err
	}
	b := fuse.NewBody(24)
	end := uint64(lastByte)
	if other.Len > 0 {
		end = uint64(other.Start + other.Len - 1)
	}
	b.Uint64(uint64(other.Start))
	b.Uint64(end)
	b.Uint32(uint32(other.Type))
	b.Uint32(0) // whose it is, is another machine's affair
	return b, nil
}
