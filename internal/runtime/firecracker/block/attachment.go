package block

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// replyTimeout is after how long Linux gives up a request and asks again, on a new connection. One that
	// was under way when a server was killed waits so long.
	replyTimeout = 10 * time.Second
	// serverTimeout is how long requests wait for another server, before they fail.
	serverTimeout = 10 * time.Minute
	// commandTime bounds commands to the kernel.
	commandTime = 30 * time.Second
	// reconnectPause lies between two tries to give a device another connection.
	reconnectPause = 20 * time.Millisecond
	socketBuffer   = 4 << 20 // bytes
	maxBackend     = 128
)

var errDetached = errors.New("the disk was detached")

// Attachment is a disk that the kernel has as /dev/nbdN, with the server that it asks.
//
// A server that is killed, or whose Run is ended by its context, leaves the device: requests wait ten
// minutes for the next Attachment with the same backend, in whichever process.
type Attachment struct {
	kernel  *Kernel
	server  *Server
	backend string
	size    int64
	log     *slog.Logger

	attached chan struct{} // closed when index or err is known
	index    int
	err      error
}

// NewAttachment prepares to serve a device, which the kernel then knows by the backend's name: one that
// nothing else on the machine has, such as the installation's and the sandbox's. log may be nil.
func NewAttachment(k *Kernel, device Device, backend string, log *slog.Logger) (*Attachment, error) {
	if backend == "" || len(backend) > maxBackend {
		return nil, fmt.Errorf("the name of an attached disk has 1 to %d bytes, and %q does not", maxBackend, backend)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Attachment{kernel: k, server: NewServer(device, backend, log), backend: backend, size: device.Size(), log: log,
		attached: make(chan struct{})}, nil
}

// Run attaches the disk, or takes over the device that has it already, and serves until the device is
// detached (nil) or ctx ends (nil, too, and the device stays). It is to be called once. No request is
// worked on when it has returned.
func (a *Attachment) Run(ctx context.Context) error {
	index, err := a.find()
	for err == nil {
		var gone bool
		gone, err = a.serve(ctx, &index)
		if ctx.Err() != nil {
			a.know(index, ctx.Err())
			return nil
		}
		if gone {
			return nil
		}
		if err == nil {
			a.log.Warn("the connection to a disk was lost, and is made again", "disk", a.backend, "device", index)
		}
	}
	a.know(index, err)
	return err
}

// find returns the number of the device that an earlier server has left, or -1.
func (a *Attachment) find() (int, error) {
	found, is, err := a.kernel.Find(a.backend)
	if err != nil || !is {
		return -1, err
	}
	if found.Size != a.size {
		return -1, fmt.Errorf("%s has %d bytes, and the disk that it is to serve %d", found.Path, found.Size, a.size)
	}
	return found.Index, nil
}

// know tells those who wait for the device what became of it, unless they know. Only Run calls it.
func (a *Attachment) know(index int, err error) {
	select {
	case <-a.attached:
	default:
		a.index, a.err = index, err
		close(a.attached)
	}
}

// serve makes a connection and serves it. It tells whether the device was detached; after no error, the
// connection was lost.
func (a *Attachment) serve(ctx context.Context, index *int) (gone bool, err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	served := make(chan struct{})
	var ended error
	serving, end := context.WithCancel(ctx)
	defer end()
	go func() { // awaited in any case, below
		defer close(served)
		ended = a.server.Serve(serving, ours)
	}()
	if *index < 0 {
		*index, err = a.connect(ctx, theirs)
	} else {
		gone, err = a.reconnect(ctx, *index, theirs)
	}
	if gone {
		a.know(*index, errDetached)
	}
	if err != nil || gone {
		end()
		<-served
		return gone, err
	}
	theirs.Close() // the kernel has it; only so is its end seen
	a.know(*index, nil)
	<-served
	return ended == nil, nil
}

func (a *Attachment) connect(ctx context.Context, socket *os.File) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	index, err := a.kernel.connect(ctx, socket, attachment{size: a.size, backend: a.backend, timeout: replyTimeout, deadTimeout: serverTimeout})
	if err != nil {
		return -1, err
	}
	if err := a.kernel.knows(index, a.backend); err != nil {
		return -1, errors.Join(err, a.kernel.Disconnect(ctx, index))
	}
	if err := a.kernel.tune(index); err != nil {
		a.log.Warn("a disk may wait longer for replies than it is to", "disk", a.backend, "err", err)
	}
	if _, err := a.kernel.node(index); err != nil {
		return -1, errors.Join(err, a.kernel.Disconnect(ctx, index))
	}
	return index, nil
}

// reconnect tries until the kernel has seen that the last connection is dead.
func (a *Attachment) reconnect(ctx context.Context, index int, socket *os.File) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	tick := time.NewTicker(reconnectPause)
	defer tick.Stop()
	for {
		err := a.kernel.reconnect(ctx, index, socket, a.backend)
		if err == nil {
			return false, nil
		}
		if !errors.Is(err, unix.ENOSPC) {
			if found, is, listErr := a.kernel.Find(a.backend); listErr == nil && (!is || found.Index != index) {
				return true, nil // it was detached meanwhile, so nobody needs it
			}
			return false, fmt.Errorf("serve %s again: %w", a.kernel.path(index), err)
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("serve %s again: another server has it: %w", a.kernel.path(index), ctx.Err())
		case <-tick.C:
		}
	}
}

// Device waits until the disk is attached, and returns the path of its device.
func (a *Attachment) Device(ctx context.Context) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-a.attached:
	}
	if a.err != nil {
		return "", a.err
	}
	return a.kernel.path(a.index), nil
}

// Sync brings what the kernel has of the device in its page cache to the disk, and flushes that. It is to
// be called before a capture: what a microVM wrote lies in that cache.
func (a *Attachment) Sync(ctx context.Context) error {
	path, err := a.Device(ctx)
	if err != nil {
		return err
	}
	f, err := os.Open(path) // not for writing: udev would look at it when it is closed
	if err != nil {
		return fmt.Errorf("sync a disk: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync a disk: %w", err)
	}
	return nil
}

// Detach ends the device, after which Run returns. What is in the kernel's page cache and was not synced
// is lost.
func (a *Attachment) Detach(ctx context.Context) error {
	if _, err := a.Device(ctx); err != nil {
		return err
	}
	return a.kernel.Disconnect(ctx, a.index)
}

// socketPair has the server's end first, and the kernel's second.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("sockets for a disk: %w", err)
	}
	for _, fd := range fds { // as much as may be; what is there by default does, too
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "disk"), os.NewFile(uintptr(fds[1]), "disk")
	conn, err := net.FileConn(ours) // has a descriptor of its own
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("sockets for a disk: %w", err)
	}
	return conn, theirs, nil
}
