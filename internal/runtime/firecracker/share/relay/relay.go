// Package relay is the guest's side of a volume: it passes messages between the guest's kernel, which has a FUSE
// file system mounted, and the host, over one connection after the other. It keeps what has no reply yet, and
// sends that again over the next connection.
package relay

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// Relay passes the messages of one mounted file system.
type Relay struct {
	device io.ReadWriter // each read is a message of the kernel's, each write a reply
	grace  int           // how many times Step the host may be away

	notices chan []byte // of the host, on the way to the kernel

	sending sync.Mutex // held while messages are sent to the host; taken before mu

	mu      sync.Mutex
	conn    io.ReadWriteCloser // nil while the host is away
	waiting map[uint64]*message
	gone    bool // the host is not expected any more: all is an error
	losses  int  // of connections
	ended   bool
}

// Device is the kernel's end of a mounted file system, by its descriptor. Several may write at once: a notice
// may have to wait for a reply.
type Device int

func (d Device) Read(p []byte) (int, error)  { return unix.Read(int(d), p) }
func (d Device) Write(p []byte) (int, error) { return unix.Write(int(d), p) }

// Close ends the file system if it is mounted still. The number of the descriptor stays taken: somebody may still
// be about to write to it, which leads nowhere then.
func (d Device) Close() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return unix.Close(int(d))
	}
	return errors.Join(unix.Dup3(null, int(d), unix.O_CLOEXEC), unix.Close(null))
}

// message is one that has no reply yet.
type message struct {
	fuse.Header
	data      []byte
	interrupt []byte // the kernel does not want it to wait any more
}

// Grace is how many Steps the host may be away until everything that waits for it is an error. They are counted
// while the machine runs: to one that was frozen, time has leapt.
const (
	Grace = 15
	Step  = time.Second
)

// New makes a relay, which Run runs.
func New(device io.ReadWriter, grace int) *Relay {
	return &Relay{device: device, grace: grace, waiting: map[uint64]*message{},
		notices: make(chan []byte, maxNotices)}
}

// Run passes messages to the host until the file system is unmounted, or its connection with the kernel broken.
func (r *Relay) Run() error {
	defer r.end()
	stop := make(chan struct{})
	defer close(stop)
	go r.notify(stop)
	r.lose(nil) // the host is to come
	buffer := make([]byte, fuse.MaxMessage)
	for {
		n, err := r.device.Read(buffer)
		switch {
		case errors.Is(err, unix.ENODEV):
			return nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // a message was withdrawn
			continue
		case err != nil:
			return err
		}
		if err := r.pass(slices.Clone(buffer[:n])); err != nil {
			return err
		}
	}
}

// maxNotices is how many notices may wait for the kernel. More are left out.
const maxNotices = 256

// notify tells the kernel what the host has to say of its own accord, until it is stopped. The kernel may wait with
// that until a message is answered, so nobody else waits for it.
func (r *Relay) notify(stop <-chan struct{}) {
	for {
		select {
		case notice := <-r.notices:
			_, _ = r.device.Write(notice) // what it does not know any more is an error
		case <-stop:
			return
		}
	}
}

// Ended tells whether the file system is not there any more.
func (r *Relay) Ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

func (r *Relay) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.conn != nil {
		_ = r.conn.Close()
	}
}

// pass sends a message to the host, or answers it.
func (r *Relay) pass(data []byte) error {
	h, err := fuse.ParseHeader(data)
	if err != nil {
		return err
	}
	switch h.Opcode {
	case fuse.Init:
		reply, err := fuse.AnswerInit(data)
		if err != nil {
			return err
		}
		return r.reply(reply)
	case fuse.Destroy:
		return r.reply(fuse.Reply(h.Unique, 0))
	}
	r.sending.Lock()
	defer r.sending.Unlock()
	r.mu.Lock()
	conn, errno := r.conn, unix.Errno(0)
	answered := h.Unique
	switch {
	case h.Opcode == fuse.Interrupt:
		answered, errno = r.interrupted(data)
	case h.Unanswered():
	case r.gone:
		errno = unix.EIO
	default:
		r.waiting[h.Unique] = &message{Header: h, data: data}
	}
	r.mu.Unlock()
	if errno != 0 {
		return r.reply(fuse.Reply(answered, int(errno)))
	}
	if conn != nil {
		if _, err := conn.Write(data); err != nil {
			_ = conn.Close() // who reads from it ends then
		}
	}
	return nil
}

// interrupted notes that the kernel does not want a message to wait. One that waits for a lock does not, where
// the host is away. The caller holds mu.
func (r *Relay) interrupted(data []byte) (unique uint64, errno unix.Errno) {
	body := fuse.NewFields(data[fuse.HeaderSize:])
	m := r.waiting[body.Uint64()]
	if m == nil {
		return 0, 0
	}
	m.interrupt = data
	if r.conn == nil && m.Opcode == fuse.SetLockWait {
		delete(r.waiting, m.Unique)
		return m.Unique, unix.EINTR
	}
	return 0, 0
}

// reply answers the kernel, which may have withdrawn the message.
func (r *Relay) reply(reply []byte) error {
	_, err := r.device.Write(reply)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// Attach uses a connection with the host until it ends, in place of any other.
func (r *Relay) Attach(conn io.ReadWriteCloser) {
	r.mu.Lock()
	if r.conn != nil {
		_ = r.conn.Close()
	}
	r.mu.Unlock()
	resent := make(chan struct{})
	go func() { // ends with the connection at the latest
		defer close(resent)
		r.resend(conn)
	}()
	for {
		reply, err := fuse.ReadMessage(conn, fuse.ReplyHeaderSize)
		if err != nil {
			break
		}
		unique, err := fuse.ReplyUnique(reply)
		if err != nil {
			break
		}
		if unique == 0 {
			select {
			case r.notices <- reply:
			default:
			}
			continue
		}
		r.mu.Lock()
		_, ok := r.waiting[unique]
		delete(r.waiting, unique)
		r.mu.Unlock()
		if !ok {
			continue
		}
		if err := r.reply(reply); err != nil {
			_ = r.reply(fuse.Reply(unique, int(unix.EIO))) // the kernel does not take what the host says
		}
	}
	_ = conn.Close()
	<-resent
	r.lose(conn)
}

// resend makes a connection the one to send to, and sends what has no reply yet.
func (r *Relay) resend(conn io.ReadWriteCloser) {
	r.sending.Lock()
	defer r.sending.Unlock()
	r.mu.Lock()
	r.conn, r.gone = conn, false
	var all [][]byte
	waiting := make([]*message, 0, len(r.waiting))
	for _, m := range r.waiting {
		waiting = append(waiting, m)
	}
	slices.SortFunc(waiting, func(a, b *message) int { return cmp.Compare(a.Unique, b.Unique) })
	for _, m := range waiting {
		all = append(all, m.data)
		if m.interrupt != nil {
			all = append(all, m.interrupt)
		}
	}
	r.mu.Unlock()
	for _, data := range all {
		if _, err := conn.Write(data); err != nil {
			_ = conn.Close()
			return
		}
	}
}

// lose notes that a connection has ended, and waits for the next one.
func (r *Relay) lose(conn io.ReadWriteCloser) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != conn {
		return
	}
	r.conn = nil
	for unique, m := range r.waiting {
		if m.interrupt != nil && m.Opcode == fuse.SetLockWait { // of which the host may not know
			delete(r.waiting, unique)
			_ = r.reply(fuse.Reply(unique, int(unix.EINTR))) // unless it was withdrawn
		}
	}
	r.losses++
	losses := r.losses
	go r.expect(losses) // ends after the grace
}

// expect gives up if the host does not come back.
func (r *Relay) expect(losses int) {
	for range r.grace {
		time.Sleep(Step)
		if r.since(losses) {
			return
		}
	}
	r.giveUp(losses)
}

// since tells whether the host has been back since a loss.
func (r *Relay) since(losses int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn != nil || r.losses != losses || r.gone || r.ended
}

// GiveUp has all that waits for the host, and all that comes, be an error until it is back.
func (r *Relay) GiveUp() { r.giveUp(0) }

func (r *Relay) giveUp(losses int) {
	r.mu.Lock()
	if losses != 0 && (r.conn != nil || r.losses != losses) {
		r.mu.Unlock()
		return
	}
	r.gone = true
	conn, waiting := r.conn, r.waiting
	r.waiting = map[uint64]*message{}
	r.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
	for unique := range waiting {
		_ = r.reply(fuse.Reply(unique, int(unix.EIO))) // unless it was withdrawn
	}
}
