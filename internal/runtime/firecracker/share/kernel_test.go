package share

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
	"shoal/internal/runtime/firecracker/share/relay"
)

// kernel is in place of a guest's: what programs would ask it for goes through a relay to a server.
type kernel struct {
	t        *testing.T
	requests chan []byte
	mu       sync.Mutex
	unique   uint64
	replies  map[uint64]chan []byte
}

func (k *kernel) Read(p []byte) (int, error) {
	message, ok := <-k.requests
	if !ok {
		return 0, unix.ENODEV
	}
	return copy(p, message), nil
}

func (k *kernel) Write(p []byte) (int, error) {
	unique, err := fuse.ReplyUnique(p)
	if err != nil {
		return 0, unix.EINVAL
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	reply := k.replies[unique]
	if reply == nil {
		if unique != 0 {
			k.t.Errorf("a second reply to %d", unique)
		}
		return 0, unix.ENOENT
	}
	delete(k.replies, unique)
	reply <- append([]byte(nil), p...)
	return len(p), nil
}

// begin sends a request whose reply is to come.
func (k *kernel) begin(op fuse.Opcode, node uint64, body ...any) (unique uint64, reply chan []byte) {
	k.mu.Lock()
	k.unique += 2
	unique = k.unique
	reply = make(chan []byte, 1)
	k.replies[unique] = reply
	k.mu.Unlock()
	k.requests <- messageOf(op, unique, node, body...)
	return unique, reply
}

func readReply(b []byte) (*fuse.Fields, error) {
	if errno := -int32(binary.LittleEndian.Uint32(b[4:])); errno != 0 {
		return nil, unix.Errno(errno)
	}
	return fuse.NewFields(b[fuse.ReplyHeaderSize:]), nil
}

func (k *kernel) ask(op fuse.Opcode, node uint64, body ...any) (*fuse.Fields, error) {
	_, reply := k.begin(op, node, body...)
	select {
	case b := <-reply:
		return readReply(b)
	case <-time.After(30 * time.Second):
		return nil, fmt.Errorf("no reply to %d", op)
	}
}

func (k *kernel) lookup(dir uint64, name string) (uint64, error) {
	f, err := k.ask(fuse.Lookup, dir, name)
	if err != nil {
		return 0, err
	}
	return f.Uint64(), nil
}

func (k *kernel) create(dir uint64, name string, flags uint32) (node, handle uint64, err error) {
	f, err := k.ask(fuse.Create, dir, flags, uint32(unix.S_IFREG|0o644), uint32(0), uint32(0), name)
	if err != nil {
		return 0, 0, err
	}
	node = f.Uint64()
	f.Skip(128 - 8)
	return node, f.Uint64(), f.Err()
}

func (k *kernel) read(node, handle, offset uint64, size uint32) (string, error) {
	_, reply := k.begin(fuse.Read, node, handle, offset, size, uint32(0), uint64(0), uint32(0), uint32(0))
	b := <-reply
	if _, err := readReply(b); err != nil {
		return "", err
	}
	return string(b[fuse.ReplyHeaderSize:]), nil
}

// write writes text without the zero that ends it in the message.
func (k *kernel) write(node, handle, offset uint64, flags uint32, text string) (int, error) {
	f, err := k.ask(fuse.Write, node, handle, offset, uint32(len(text)), uint32(0), uint64(0), flags, uint32(0), text)
	if err != nil {
		return 0, err
	}
	return int(f.Uint32()), nil
}

func (k *kernel) lock(op fuse.Opcode, node, handle, owner uint64, kind uint32, whole bool) error {
	return k.lockPart(op, node, handle, owner, kind, whole, 2, 4)
}

func (k *kernel) lockPart(op fuse.Opcode, node, handle, owner uint64, kind uint32, whole bool, from, to uint64) error {
	flags := uint32(0)
	if whole {
		flags, from, to = wholeFile, 0, lastByte
	}
	_, err := k.ask(op, node, handle, owner, from, to, kind, uint32(1), flags, uint32(0))
	return err
}

// guestOf is a volume with a kernel in place of a guest's.
func guestOf(t *testing.T) (*mounted, *kernel) {
	t.Helper()
	k := &kernel{t: t, requests: make(chan []byte), replies: map[uint64]chan []byte{}}
	m := &mounted{t: t, dir: t.TempDir(), relay: relay.New(k, 1)}
	var work sync.WaitGroup
	work.Go(func() {
		if err := m.relay.Run(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		close(k.requests)
		work.Wait()
		m.served.Wait()
	})
	return m, k
}

func TestMessages(t *testing.T) {
	m, k := guestOf(t)
	m.serve(nil)
	f, err := k.ask(fuse.Init, 0, uint32(7), uint32(38), uint32(1<<17), ^uint32(0), ^uint32(0))
	must(t, err)
	f.Skip(20)
	if most := f.Uint32(); most != fuse.MaxWrite {
		t.Errorf("at most %d bytes are written", most)
	}
	node, handle, err := k.create(fuse.Root, "file", unix.O_RDWR)
	must(t, err)
	n, err := k.write(node, handle, 0, 0, "hello")
	if err != nil || n != 5 {
		t.Errorf("wrote %d (%v)", n, err)
	}
	must(t, os.WriteFile(m.host("file"), []byte("hello host"), 0))
	_, err = k.write(node, handle, 5, unix.O_APPEND, "!")
	must(t, err)
	if text, err := k.read(node, handle, 0, 100); err != nil || text != "hello host!" {
		t.Errorf("read %q (%v)", text, err)
	}
	for name, want := range map[string]error{"none": unix.ENOENT, "..": unix.EINVAL, "a/b": unix.EINVAL, "": unix.EINVAL} {
		_, err := k.lookup(fuse.Root, name)
		wantErr(t, "look up "+name, err, want)
	}
	_, err = k.lookup(node, "x")
	wantErr(t, "look up in a file", err, unix.ENOTDIR)
	_, err = k.lookup(12345, "x")
	wantErr(t, "look up in nothing", err, unix.ESTALE)
	_, err = k.ask(fuse.MkDir, fuse.Root, uint32(0o755), uint32(0), "dir")
	must(t, err)
	dir, err := k.lookup(fuse.Root, "dir")
	must(t, err)
	_, err = k.ask(fuse.Rename, fuse.Root, dir, "file", "moved")
	must(t, err)
	wantText(t, m.host("dir/moved"), "hello host!")
	_, err = k.ask(fuse.MkNod, dir, uint32(unix.S_IFCHR|0o666), uint32(0x103), uint32(0), uint32(0), "device")
	wantErr(t, "make a device", err, unix.EPERM)
	_, err = k.ask(fuse.Release, node, handle, uint32(0), uint32(0), uint64(0))
	must(t, err)
	_, err = k.read(node, handle, 0, 5)
	wantErr(t, "read what is closed", err, unix.EBADF)
	k.requests <- messageOf(fuse.Forget, 2, node, uint64(100))
	waitFor(t, "it is forgotten", func() bool { _, err := k.ask(fuse.GetAttr, node, uint64(0), uint64(0)); return isErr(err, unix.ESTALE) })
}

// TestMessagesSaved has another server go on, through the same relay.
func TestMessagesSaved(t *testing.T) {
	m, k := guestOf(t)
	m.serve(nil)
	type open struct{ node, handle uint64 }
	files := map[string]open{}
	for _, name := range []string{"kept", "removed", "replaced", "gone", "whole", "part", "taken", "taken part"} {
		node, handle, err := k.create(fuse.Root, name, unix.O_RDWR)
		must(t, err)
		_, err = k.write(node, handle, 0, 0, name)
		must(t, err)
		files[name] = open{node, handle}
	}
	change := func(name string, kind uint32) error {
		return k.lock(fuse.SetLock, files[name].node, files[name].handle, 77, kind, name == "whole" || name == "taken")
	}
	host := map[string]*os.File{}
	for _, name := range []string{"whole", "part", "taken", "taken part"} {
		must(t, change(name, unix.F_WRLCK))
		f, err := os.OpenFile(m.host(name), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		host[name] = f
	}
	onHost := func(name string) error {
		if name == "whole" || name == "taken" {
			return unix.Flock(int(host[name].Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		return unix.FcntlFlock(host[name].Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 4, Len: 1})
	}
	for name := range host {
		wantErr(t, "lock the host's "+name, onHost(name), unix.EAGAIN)
	}
	must(t, os.Remove(m.host("gone")))
	state := m.save()
	must(t, errors.Join(os.Remove(m.host("removed")), os.Remove(m.host("replaced")), os.Mkdir(m.host("replaced"), 0o755)))
	must(t, errors.Join(onHost("taken"), onHost("taken part")))
	m.serve(state)
	for again := range 2 {
		for name, want := range map[string]error{"kept": nil, "removed": unix.EBADF, "replaced": unix.EBADF, "gone": unix.EBADF,
			"whole": nil, "part": nil, "taken": unix.EIO, "taken part": unix.EIO} {
			text, err := k.read(files[name].node, files[name].handle, 0, 100)
			wantErr(t, fmt.Sprint("read ", name, again), err, want)
			if want == nil && text != name {
				t.Errorf("%s has %q", name, text)
			}
		}
		wantErr(t, "lock the host's", onHost("whole"), unix.EAGAIN)
		wantErr(t, "lock the host's", onHost("part"), unix.EAGAIN)
		must(t, host["taken part"].Close()) // it is free, but it has been somebody else's
		m.serve(m.save())
		host["taken part"], _ = os.Open(os.DevNull)
	}
	wantErr(t, "lock what is lost", change("taken", unix.F_WRLCK), unix.EIO)
	for _, name := range []string{"taken", "taken part"} {
		must(t, change(name, unix.F_UNLCK))
		_, err := k.read(files[name].node, files[name].handle, 0, 100)
		wantErr(t, "read "+name, err, nil)
	}
	wantErr(t, "lock what another has", change("taken", unix.F_WRLCK), unix.EAGAIN)
	must(t, change("part", unix.F_UNLCK))
	wantErr(t, "lock the host's", onHost("part"), nil)
	node, err := k.lookup(fuse.Root, "replaced")
	if err != nil || node == files["replaced"].node {
		t.Errorf("what is there is node %d (%v)", node, err)
	}
}

// TestMessagesBroken breaks connections while things are done that must be done once.
func TestMessagesBroken(t *testing.T) {
	m, k := guestOf(t)
	m.serve(nil)
	stop := make(chan struct{})
	var breaking, work sync.WaitGroup
	breaking.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if n%3 == 0 {
				m.serve(m.save())
			} else {
				m.server.Save(t.Context())
				m.connect()
			}
		}
	})
	for w := range 4 {
		work.Go(func() {
			log, handle, err := k.create(fuse.Root, fmt.Sprint("log", w), unix.O_WRONLY|unix.O_EXCL)
			if err != nil {
				t.Error(err)
				return
			}
			want := ""
			for n := range 200 {
				want += fmt.Sprintln(n)
				_, err := k.write(log, handle, 0, unix.O_APPEND, fmt.Sprintln(n))
				dir := fmt.Sprint("dir", w)
				_, mkErr := k.ask(fuse.MkDir, fuse.Root, uint32(0o755), uint32(0), dir)
				_, mvErr := k.ask(fuse.Rename, fuse.Root, uint64(fuse.Root), dir, dir+"x")
				_, rmErr := k.ask(fuse.RmDir, fuse.Root, dir+"x")
				lockErr := k.lock(fuse.SetLockWait, log, handle, uint64(n), unix.F_WRLCK, false)
				unErr := k.lock(fuse.SetLock, log, handle, uint64(n), unix.F_UNLCK, false)
				if err := errors.Join(err, mkErr, mvErr, rmErr, lockErr, unErr); err != nil {
					t.Error(err)
					return
				}
			}
			wantText(t, m.host(fmt.Sprint("log", w)), want)
		})
	}
	work.Wait()
	close(stop)
	breaking.Wait()
}

// TestMessagesWaiting waits for locks: until they are free, over the end of a connection, and until the kernel wants
// no more.
func TestMessagesWaiting(t *testing.T) {
	m, k := guestOf(t)
	m.serve(nil)
	node, handle, err := k.create(fuse.Root, "file", unix.O_RDWR)
	must(t, err)
	host, err := os.OpenFile(m.host("file"), os.O_RDWR, 0)
	must(t, err)
	defer host.Close()
	must(t, unix.Flock(int(host.Fd()), unix.LOCK_EX))
	waits := func() bool { m.server.mu.Lock(); defer m.server.mu.Unlock(); return m.server.waiting == 1 }
	begin := func() (uint64, chan []byte) {
		return k.begin(fuse.SetLockWait, node, handle, uint64(7), uint64(0), uint64(lastByte), uint32(unix.F_WRLCK), uint32(1),
			uint32(wholeFile), uint32(0))
	}
	for _, broken := range []bool{false, true} {
		unique, reply := begin()
		waitFor(t, "it waits", waits)
		if broken {
			m.server.Save(t.Context())
			k.requests <- messageOf(fuse.Interrupt, unique|1, 0, unique) // while the host is away
		} else {
			k.requests <- messageOf(fuse.Interrupt, unique|1, 0, unique)
		}
		_, err = readReply(<-reply)
		wantErr(t, "wait in vain", err, unix.EINTR)
		if broken {
			m.connect()
		}
	}
	_, reply := begin()
	waitFor(t, "it waits", waits)
	m.server.Save(t.Context())
	m.connect()
	waitFor(t, "it waits again", waits)
	must(t, unix.Flock(int(host.Fd()), unix.LOCK_UN))
	_, err = readReply(<-reply)
	wantErr(t, "lock", err, nil)
}

// TestMessagesAway has the host be away.
func TestMessagesAway(t *testing.T) {
	m, k := guestOf(t)
	m.serve(nil)
	must(t, os.WriteFile(m.host("file"), nil, 0o644))
	m.server.Save(t.Context())
	_, err := k.lookup(fuse.Root, "file")
	wantErr(t, "look up", err, unix.EIO)
	m.connect()
	waitFor(t, "it is back", func() bool { _, err := k.lookup(fuse.Root, "file"); return err == nil })
	m.relay.GiveUp()
	_, err = k.lookup(fuse.Root, "file")
	wantErr(t, "look up", err, unix.EIO)
}

func TestSpans(t *testing.T) {
	all := []span{{0, 9, 1}, {20, lastByte, 0}}
	got := without(all, span{Start: 5, End: 24})
	if want := fmt.Sprint([]span{{0, 4, 1}, {25, lastByte, 0}}); fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := without(got, span{Start: 0, End: lastByte}); len(got) != 0 {
		t.Errorf("%v is left", got)
	}
}
