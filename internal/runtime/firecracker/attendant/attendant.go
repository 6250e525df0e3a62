// Package attendant is what attends one microVM: it serves the guest's disk (package block) and, if the
// guest was restored, its memory (package page). Each guest has an attendant, which is a process of its
// own, so that it outlives the one that started it. It does what it is asked on a socket.
//
// It is in the guest's cgroup and ends with it. What the kernel has of the disk then is for the driver to
// detach.
package attendant

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/runtime/firecracker/page"
	"shoal/internal/unixsocket"
)

// Config is what an attendant is told when it is started, ahead of the guest. It is written as JSON.
type Config struct {
	// Socket is where it listens.
	Socket string `json:"socket"`
	// Backend is the name by which the kernel knows the disk.
	Backend string `json:"backend"`
}

// Request is one question; exactly one field is set.
type Request struct {
	Disk    *Disk    `json:"disk,omitempty"`
	Capture *Capture `json:"capture,omitempty"`
	Memory  *Memory  `json:"memory,omitempty"`
	Keep    *Keep    `json:"keep,omitempty"`
	Record  *Empty   `json:"record,omitempty"`
}

// Empty is a question without details.
type Empty struct{}

// Capture writes what the disk has on its base to an empty file, as one layer, and remembers for Keep what the guest
// has given back of its memory until then. The guest stands still meanwhile.
type Capture struct {
	To string `json:"to"`
}

// Memory is to be served on a socket, which the user with the ID may connect to. The answer comes when it
// is listened on.
type Memory struct {
	Dir    string `json:"dir"`
	Socket string `json:"socket"`
	UID    int    `json:"uid"`
}

// Keep makes what Firecracker wrote before the last Capture the memory in a directory, see page.Keep.
type Keep struct {
	File   string `json:"file"`
	Parent string `json:"parent"`
	Dir    string `json:"dir"`
}

// Answer is the answer to any question.
type Answer struct {
	Error  string `json:"error,omitempty"`
	Device string `json:"device,omitempty"` // of the disk
}

// maxMessage bounds a question or an answer, in bytes.
const maxMessage = 1 << 16

// attendant is one running attendant. Its goroutines are awaited by Run.
type attendant struct {
	cfg Config
	log *slog.Logger

	work sync.WaitGroup
	fail context.CancelCauseFunc

	// mu guards what follows, and is held while a question is answered.
	mu        sync.Mutex
	disk      *served      // nil before it is asked for
	server    *page.Server // of the guest's memory; nil without
	removed   *page.Set    // what that knew to be removed at the last Capture
	memoryDir string
}

// Run attends a guest until ctx ends or it cannot go on, which is an error: the guest is then to be ended.
func Run(ctx context.Context, cfg Config, log *slog.Logger) (err error) {
	a := &attendant{cfg: cfg, log: log}
	listener, err := unixsocket.Listen(cfg.Socket)
	if err != nil {
		return err
	}
	ctx, a.fail = context.WithCancelCause(ctx)
	defer a.fail(nil)
	defer func() { err = errors.Join(err, a.disk.close()) }()
	a.work.Go(func() { a.endsWith(a.answerAll(ctx, listener)) })
	a.work.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// errDetached is why an attendant ends whose disk was detached.
var errDetached = errors.New("the disk was detached")

// endsWith ends the attendant when a part of it has ended.
func (a *attendant) endsWith(err error) {
	if err == nil {
		err = errDetached
	}
	a.fail(err)
}

// answerAll answers one question of each connection, one after the other.
func (a *attendant) answerAll(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		a.work.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			var q Request
			if json.NewDecoder(io.LimitReader(conn, maxMessage)).Decode(&q) != nil {
				return
			}
			answer, err := a.answer(ctx, q)
			if err != nil {
				answer.Error = err.Error()
			}
			_ = json.NewEncoder(conn).Encode(answer)
		})
	}
}

func (a *attendant) answer(ctx context.Context, q Request) (answer Answer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case q.Disk != nil:
		answer.Device, err = a.serveDisk(ctx, q.Disk)
		return answer, err
	case q.Capture != nil:
		if a.server != nil {
			a.removed = a.server.Removed()
		}
		return answer, a.capture(ctx, q.Capture.To)
	case q.Memory != nil:
		return answer, a.serveMemory(ctx, q.Memory)
	case q.Keep != nil:
		return answer, a.keep(ctx, q.Keep)
	case q.Record != nil:
		return answer, a.record()
	}
	return answer, errors.New("an unknown question")
}

// acceptTime bounds the wait for Firecracker after its memory is listened for.
const acceptTime = time.Minute

// serveMemory listens, and serves who connects. The server ends with the guest or with the attendant.
func (a *attendant) serveMemory(ctx context.Context, q *Memory) error {
	memory, err := page.Open(q.Dir)
	if err != nil {
		return err
	}
	set, err := page.LoadWorkingSet(q.Dir, memory)
	if err != nil {
		a.log.Warn("what a guest needs first is not known", "error", err)
	}
	l, err := unixsocket.Listen(q.Socket)
	if err == nil {
		err = errors.Join(os.Chown(q.Socket, q.UID, q.UID), os.Chmod(q.Socket, 0o600))
	}
	if err != nil {
		return errors.Join(err, memory.Close())
	}
	a.memoryDir = q.Dir
	a.work.Go(func() {
		defer memory.Close()
		if err := a.serveOne(ctx, l, memory, page.Options{WorkingSet: set}); err != nil {
			a.fail(err)
		}
	})
	return nil
}

func (a *attendant) serveOne(ctx context.Context, l *net.UnixListener, m *page.Memory, o page.Options) error {
	waiting, cancel := context.WithTimeout(ctx, acceptTime)
	client, err := page.Accept(waiting, l, m)
	cancel()
	l.Close()
	if err != nil {
		return err
	}
	defer client.Close()
	server := page.NewServer(m, client, o)
	a.mu.Lock()
	a.server = server
	a.mu.Unlock()
	return server.Run(ctx)
}

func (a *attendant) keep(ctx context.Context, q *Keep) error {
	d := page.Dump{File: q.File, Parent: q.Parent, Move: true, Durability: atomicfile.Volatile}
	if a.server != nil && q.Parent != "" {
		d.Removed = a.removed
	}
	if _, err := page.Keep(ctx, q.Dir, d); err != nil {
		return err
	}
	if d.Removed != nil {
		a.server.Forget(d.Removed)
	}
	return nil
}

// record keeps what the guest has needed so far, for the next one that is restored from this memory.
func (a *attendant) record() error {
	if a.server == nil {
		return nil
	}
	set := a.server.Recorded()
	if set == nil {
		return nil
	}
	return page.SaveWorkingSet(a.memoryDir, set)
}
