package share

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/relay"
	"shoal/internal/volume/meter"
)

// insideVariable is set in the process in which a test has file systems of its own mounted.
const insideVariable = "SHOAL_TEST_INSIDE"

// TestMain makes the tests' program a server, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Command {
		if err := Main(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// inside runs the rest of a test in a process with mounts of its own, and tells whether this is that.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // whose end would be a signal
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// mounted is a volume mounted by the host's own kernel, as a guest's would.
type mounted struct {
	t      *testing.T
	dir    string // of the volume
	at     string // where it is mounted
	relay  *relay.Relay
	server *Server
	served sync.WaitGroup
	meter  *meter.Meter
	known  int
}

func mount(t *testing.T, dir string) *mounted {
	t.Helper()
	m := &mounted{t: t, dir: dir, at: t.TempDir()}
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device)
	if err := unix.Mount("shoal", m.at, "fuse.shoal", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatal(err)
	}
	m.relay = relay.New(relay.Device(device), 1)
	var work sync.WaitGroup
	work.Go(func() {
		if err := m.relay.Run(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := unix.Unmount(m.at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		work.Wait()
		unix.Close(device)
		m.served.Wait()
	})
	return m
}

// serve has a new server serve the volume.
func (m *mounted) serve(state *State) {
	m.t.Helper()
	root, err := unix.Open(m.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.server, err = New(Options{Root: root, Descriptors: "/proc/self/fd/", State: state, Meter: m.meter, Known: m.known}); err != nil {
		m.t.Fatal(err)
	}
	m.connect()
	m.poll()
}

// poll has the kernel know that these files cannot be waited for. It asks at the first time, while it holds the
// set of files that somebody waits for: this program's own must not be that.
func (m *mounted) poll() {
	if m.at == "" {
		return
	}
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	must(m.t, err)
	defer unix.Close(set)
	name := m.in(".polled")
	file, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	must(m.t, err)
	defer unix.Close(file)
	_ = unix.EpollCtl(set, unix.EPOLL_CTL_ADD, file, &unix.EpollEvent{Events: unix.EPOLLIN})
	must(m.t, unix.Unlink(name))
}

// connect gives the relay and the server a connection.
func (m *mounted) connect() {
	guest, host := pair(m.t)
	m.served.Go(func() { m.relay.Attach(guest) })
	server := m.server
	m.served.Go(func() { _ = server.Serve(host) }) // ends with the connection
	waitFor(m.t, "the connection is used", func() bool {
		server.writing.Lock()
		defer server.writing.Unlock()
		return server.conn == host
	})
}

// save ends the server and returns what another goes on with, as a checkpoint has it.
func (m *mounted) save() *State {
	m.t.Helper()
	data, err := json.Marshal(m.server.Save(context.Background()))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, n := range m.server.nodes { // a server that ends has nothing open
		n.locks.close()
		unix.Close(n.fd)
	}
	for _, h := range m.server.handles {
		unix.Close(h.fd)
	}
	state := &State{}
	if err := json.Unmarshal(data, state); err != nil {
		m.t.Fatal(err)
	}
	return state
}

func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]net.Conn
	for n, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if conns[n], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return conns[0], conns[1]
}

func (m *mounted) in(name string) string   { return filepath.Join(m.at, name) }
func (m *mounted) host(name string) string { return filepath.Join(m.dir, name) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if want == nil && err != nil || want != nil && !isErr(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func wantText(t testing.TB, path, want string) {
	t.Helper()
	if data, err := os.ReadFile(path); err != nil || string(data) != want {
		t.Errorf("%s has %q (%v), want %q", path, data, err, want)
	}
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain: ", what)
		}
	}
}
