package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/server"
	"gvisor.dev/gvisor/runsc/sandbox"
)

// TestCloseOnExec: no kernel inherits what a call to another is made with. It would hold that
// one's control socket, and a number where the kernel wants its standard files ends it.
func TestCloseOnExec(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // longer than an address may be
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "control")
	before := descriptors(t)
	control, err := server.CreateSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(control)
	newFiles(t, before)
	if err := unix.Listen(control, 0); err != nil {
		t.Fatal(err)
	}
	first := dial(t, path) // fills the queue, so that the next has to wait
	done := make(chan struct{})
	go func() {
		defer close(done)
		box := sandbox.Sandbox{ID: "other", ControlSocketPath: path}
		if _, err := box.Stacks(); err == nil {
			t.Error("a call that nobody answered had a result")
		}
	}()
	// While it connects, it has the path open, and a socket beside those that are here.
	awaitFiles(t, before, path, "socket:", "socket:", "socket:")
	accept(t, control)
	unix.Close(first)
	// While it waits for the answer, it has what ends the wait.
	awaitFiles(t, before, "anon_inode:[eventfd]")
	accept(t, control)
	<-done
}

func dial(t *testing.T, path string) int {
	t.Helper()
	at, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/control", at)}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// accept takes one connection from the queue and ends it.
func accept(t *testing.T, listener int) {
	t.Helper()
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

// awaitFiles waits until the process has new open files of these names.
func awaitFiles(t *testing.T, before map[int]string, names ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		missing := names
		for _, name := range newFiles(t, before) {
			for i, want := range missing {
				if strings.HasPrefix(name, want) {
					missing = append(missing[:i:i], missing[i+1:]...)
					break
				}
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no such file was opened: %q", missing)
		}
		time.Sleep(time.Millisecond)
	}
}

// newFiles are those that were opened since before; each must be closed when a program is
// executed.
func newFiles(t *testing.T, before map[int]string) map[int]string {
	t.Helper()
	found := descriptors(t)
	for fd, name := range found {
		if before[fd] == name {
			delete(found, fd)
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Fatalf("programs that are started inherit %s", name)
		}
	}
	return found
}

// descriptors returns the names of all open files of this process.
func descriptors(t *testing.T) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			found[fd] = name
		}
	}
	return found
}
