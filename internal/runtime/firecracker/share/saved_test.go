package share

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func nobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
}

// TestSaved has another server go on with open files, of which some are gone.
func TestSaved(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.serve(nil)
	open := map[string]*os.File{}
	must(t, os.Mkdir(m.in("dir"), 0o755))
	for _, name := range []string{"kept", "removed", "replaced", "gone", "dir/moved"} {
		must(t, os.WriteFile(m.in(name), []byte(name), 0o644))
		f, err := os.OpenFile(m.in(name), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		open[name] = f
	}
	must(t, os.Remove(m.host("gone")))
	must(t, os.Rename(m.host("dir"), m.host("directory")))
	state := m.save()
	must(t, os.Remove(m.host("removed")))
	must(t, os.Remove(m.host("replaced")))
	must(t, os.Mkdir(m.host("replaced"), 0o755))
	// A path that leads out is none: links are not followed.
	m.serve(state)
	for name, want := range map[string]error{"kept": nil, "removed": unix.EBADF, "replaced": unix.EBADF, "gone": unix.EBADF, "dir/moved": nil} {
		data, err := io.ReadAll(io.NewSectionReader(open[name], 0, 100))
		wantErr(t, name, err, want)
		if want == nil && string(data) != name {
			t.Errorf("%s has %q", name, data)
		}
	}
	_, err := os.ReadFile(m.in("removed"))
	wantErr(t, "read by its path", err, unix.ENOENT)
	must(t, os.WriteFile(m.in("removed"), []byte("anew"), 0o644))
	wantText(t, m.host("removed"), "anew")
	_, err = os.ReadFile(m.in("replaced"))
	wantErr(t, "read the directory", err, unix.EISDIR)
	wantText(t, m.in("directory/moved"), "dir/moved")
}

// TestSavedPaths has a state lead out of the directory.
func TestSavedPaths(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "volume"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "secret"), nil, 0o644))
	must(t, os.Symlink("..", filepath.Join(dir, "volume/up")))
	must(t, os.WriteFile(filepath.Join(dir, "volume/file"), nil, 0o644))
	root, err := unix.Open(filepath.Join(dir, "volume"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	state := &State{}
	paths := []string{"file", "../secret", "up/secret", "./../secret", "/etc/passwd", "..", ".", ""}
	for n, p := range paths {
		state.Nodes = append(state.Nodes, NodeState{uint64(10 + n), []byte(p), unix.S_IFREG, 1})
		state.Handles = append(state.Handles, HandleState{ID: uint64(100 + n), Node: uint64(10 + n)})
	}
	s, err := New(Options{Root: root, Descriptors: "/proc/self/fd/", State: state})
	must(t, err)
	for n, p := range paths {
		if _, err := s.handle(uint64(100 + n)); (err == nil) != (n == 0) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// TestSavedLocks has another server take the locks again, but for those that somebody else has meanwhile.
func TestSavedLocks(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.serve(nil)
	guest, host := map[string]*os.File{}, map[string]*os.File{}
	for _, name := range []string{"whole", "part", "taken", "taken part"} {
		must(t, os.WriteFile(m.in(name), []byte(name), 0o644))
		for at, files := range map[string]map[string]*os.File{m.in(name): guest, m.host(name): host} {
			f, err := os.OpenFile(at, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			files[name] = f
		}
	}
	part := func(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind, Start: 2, Len: 3} }
	try := func(files map[string]*os.File, name string, un bool) error {
		fd := files[name].Fd()
		if name == "whole" || name == "taken" {
			how := unix.LOCK_EX
			if un {
				how = unix.LOCK_UN
			}
			return unix.Flock(int(fd), how|unix.LOCK_NB)
		}
		kind, how := int16(unix.F_WRLCK), unix.F_OFD_SETLK
		if un {
			kind = unix.F_UNLCK
		}
		if files[name] == guest[name] {
			how = unix.F_SETLK
		}
		return unix.FcntlFlock(fd, how, part(kind))
	}
	for name := range guest {
		wantErr(t, "lock "+name, try(guest, name, false), nil)
		wantErr(t, "lock the host's "+name, try(host, name, false), unix.EAGAIN)
	}
	state := m.save()
	wantErr(t, "take the lock", try(host, "taken", false), nil)
	wantErr(t, "take the lock", try(host, "taken part", false), nil)
	m.serve(state)
	for range 2 { // the second time, it is free, but it has been another's
		for name := range guest {
			want := error(nil)
			if name == "taken" || name == "taken part" {
				want = unix.EIO
			}
			_, err := guest[name].ReadAt(make([]byte, 4), 0)
			wantErr(t, "read "+name, err, want)
		}
		wantErr(t, "let go", try(host, "taken part", true), nil)
		m.serve(m.save())
	}
	for name := range guest {
		wantErr(t, "unlock "+name, try(guest, name, true), nil)
		_, err := guest[name].ReadAt(make([]byte, 4), 0)
		wantErr(t, "read "+name, err, nil)
	}
	wantErr(t, "lock what another has", try(guest, "taken", false), unix.EAGAIN)
	wantErr(t, "unlock", try(host, "taken", true), nil)
	wantErr(t, "lock", try(guest, "taken", false), nil)
	wantErr(t, "lock what is free again", try(host, "whole", false), nil)
}

// TestWaiting waits for locks: until they are there, over the end of a connection, and until it is interrupted.
func TestWaiting(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.serve(nil)
	must(t, os.WriteFile(m.in("file"), nil, 0o644))
	host, err := os.Open(m.host("file"))
	must(t, err)
	defer host.Close()
	must(t, unix.Flock(int(host.Fd()), unix.LOCK_EX))
	guest, err := os.Open(m.in("file"))
	must(t, err)
	defer guest.Close()
	got := make(chan error, 1)
	go func() { got <- unix.Flock(int(guest.Fd()), unix.LOCK_EX) }()
	waits := func() bool { m.server.mu.Lock(); defer m.server.mu.Unlock(); return m.server.waiting == 1 }
	waitFor(t, "it waits", waits)
	m.server.Save(t.Context())
	m.connect()
	waitFor(t, "it waits again", waits)
	must(t, unix.Flock(int(host.Fd()), unix.LOCK_UN))
	wantErr(t, "lock", <-got, nil)
}

// TestAway has the host be away: everything is an error after the grace, until it is back.
func TestAway(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.serve(nil)
	must(t, os.WriteFile(m.in("file"), []byte("text"), 0o644))
	m.server.Save(t.Context())
	begun := time.Now()
	_, err := os.ReadFile(m.in("file"))
	wantErr(t, "read", err, unix.EIO)
	if waited := time.Since(begun); waited < 500*time.Millisecond {
		t.Errorf("it gives up after %v", waited)
	}
	_, err = os.Stat(m.in("file"))
	wantErr(t, "look", err, unix.EIO)
	m.connect()
	waitFor(t, "it is back", func() bool { _, err := os.Stat(m.in("file")); return err == nil })
	wantText(t, m.in("file"), "text")
	m.relay.GiveUp()
	_, err = os.Stat(m.in("file"))
	wantErr(t, "look", err, unix.EIO)
	if errors.Is(err, unix.ENOENT) {
		t.Error("it is gone")
	}
}
