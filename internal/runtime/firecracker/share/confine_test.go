package share

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// confined is a server in a process of its own, as guests have it, and a mount of what it serves.
type confined struct {
	*mounted
	cmd    *exec.Cmd
	done   chan struct{}
	socket string
	guest  *net.UnixListener // in place of the guest's machine
	hellos chan string
}

func startConfined(t *testing.T, cfg Config) *confined {
	t.Helper()
	if withCgo {
		t.Skip("servers are programs without cgo")
	}
	dir := t.TempDir()
	c := &confined{mounted: mount(t, t.TempDir()), socket: filepath.Join(dir, "ask.sock"), hellos: make(chan string, 100),
		done: make(chan struct{})}
	var err error
	if c.guest, err = net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "v.sock")}); err != nil {
		t.Fatal(err)
	}
	c.served.Go(c.listen) // ends with the listener
	cfg.Dir, cfg.Guest, cfg.Port, cfg.Socket = c.dir, filepath.Join(dir, "v.sock"), 1024, c.socket
	cfg.Hello, cfg.Again = "{\"hello\":1}\n", "{\"again\":1}\n"
	data, err := json.Marshal(cfg)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config"), data, 0o600))
	c.cmd = exec.Command("/proc/self/exe", Command, filepath.Join(dir, "config"))
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: Unshare}
	must(t, c.cmd.Start())
	go func() { defer close(c.done); _ = c.cmd.Wait() }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
		c.guest.Close()
	})
	must(t, AwaitConnection(t.Context(), c.socket, c.done))
	c.poll()
	return c
}

func (c *confined) listen() {
	for {
		conn, err := c.guest.Accept()
		if err != nil {
			return
		}
		c.served.Go(func() {
			line, err := readLine(conn)
			if err == nil && line == "CONNECT 1024" {
				_, err = io.WriteString(conn, "OK 1\n")
			}
			hello, helloErr := readLine(conn)
			if err != nil || helloErr != nil {
				conn.Close()
				return
			}
			c.hellos <- hello
			_, _ = io.WriteString(conn, "{}\n")
			c.relay.Attach(conn)
		})
	}
}

// TestConfined looks what a server can do that was taken over, and that it can do its work.
func TestConfined(t *testing.T) {
	if !inside(t) {
		return
	}
	c := startConfined(t, Config{Bytes: 1 << 30, Counter: filepath.Join(t.TempDir(), "counter")})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil && strings.Contains(err.Error(), "no such") {
		t.Fatal(err)
	}
	for _, want := range []string{"CapEff:\t000000000000001f", "CapPrm:\t000000000000001f", "CapBnd:\t000000000000001f",
		"CapInh:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("%s: it has %s", want, regexp.MustCompile("(?m)^"+want[:5]+".*").FindString(string(status)))
		}
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", c.cmd.Process.Pid))
	must(t, err)
	for _, task := range tasks {
		if data, err := os.ReadFile(task); err == nil && !strings.Contains(string(data), "CapEff:\t000000000000001f") {
			t.Errorf("%s has other capabilities", task)
		}
	}
	must(t, os.WriteFile(c.host("only"), nil, 0o644))
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", c.cmd.Process.Pid))
	if err != nil || len(entries) != 1 || entries[0].Name() != "only" {
		t.Errorf("its root has %v (%v)", entries, err)
	}
	c.works(t)
}

// works does all that needs a system call of its own.
func (c *confined) works(t *testing.T) {
	t.Helper()
	f, err := os.Create(c.in("file"))
	must(t, err)
	defer f.Close()
	_, err = f.Write(make([]byte, 3<<20))
	must(t, err)
	for n := range 1000 { // more threads, collections
		must(t, os.WriteFile(c.in(fmt.Sprint("f", n%50)), make([]byte, 100<<10), 0o644))
	}
	var st unix.Statfs_t
	copied, err := os.Create(c.in("copy"))
	must(t, err)
	defer copied.Close()
	for what, err := range map[string]error{
		"chmod": os.Chmod(c.in("file"), 0o600), "chown": os.Chown(c.in("file"), 1, 2),
		"mkdir": os.Mkdir(c.in("dir"), 0o755), "symlink": os.Symlink("x", c.in("link")),
		"link": os.Link(c.in("file"), c.in("dir/link")), "mkfifo": unix.Mkfifo(c.in("fifo"), 0o600),
		"rename": os.Rename(c.in("copy"), c.in("copied")), "setxattr": unix.Setxattr(c.in("file"), "user.x", []byte("y"), 0),
		"listxattr": second(unix.Listxattr(c.in("file"), nil)), "getxattr": second(unix.Getxattr(c.in("file"), "user.x", nil)),
		"removexattr": unix.Removexattr(c.in("file"), "user.x"), "statfs": unix.Statfs(c.at, &st),
		"flock": unix.Flock(int(f.Fd()), unix.LOCK_EX), "setlk": unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}),
		"getlk": unix.FcntlFlock(f.Fd(), unix.F_GETLK, &unix.Flock_t{Type: unix.F_WRLCK}),
		"seek":  second(f.Seek(0, unix.SEEK_DATA)), "fallocate": unix.Fallocate(int(f.Fd()), 0, 0, 4<<20),
		"truncate": f.Truncate(5), "fsync": f.Sync(), "fdatasync": unix.Fdatasync(int(f.Fd())),
		"copy":     second(unix.CopyFileRange(int(f.Fd()), new(int64), int(copied.Fd()), nil, 5, 0)),
		"readlink": second(os.Readlink(c.in("link"))), "readdir": second(os.ReadDir(c.at)), "remove": os.Remove(c.in("fifo")),
		"rmdir": os.Remove(c.in("none")),
	} {
		if what == "rmdir" && isErr(err, unix.ENOENT) {
			continue
		}
		wantErr(t, what, err, nil)
	}
}

func second[T any](_ T, err error) error { return err }

// TestProcessSaved asks a server for its state, and whether it goes on when it is told to.
func TestProcessSaved(t *testing.T) {
	if !inside(t) {
		return
	}
	c := startConfined(t, Config{})
	f, err := os.Create(c.in("file"))
	must(t, err)
	defer f.Close()
	a, err := Ask(t.Context(), c.socket, Question{Save: true})
	must(t, err)
	if a.State == nil || len(a.State.Handles) != 1 || len(a.State.Nodes) != 1 || string(a.State.Nodes[0].Path) != "file" {
		t.Fatalf("%+v", a.State)
	}
	if hello := <-c.hellos; hello != `{"hello":1}` {
		t.Errorf("it says first %s", hello)
	}
	wrote := make(chan error, 1)
	go func() { _, err := f.WriteString("text"); wrote <- err }()
	a, err = Ask(t.Context(), c.socket, Question{})
	if err != nil || a.Connected {
		t.Errorf("it is connected: %+v (%v)", a, err)
	}
	_, err = Ask(t.Context(), c.socket, Question{GoOn: true})
	must(t, err)
	must(t, AwaitConnection(t.Context(), c.socket, c.done))
	if hello := <-c.hellos; hello != `{"again":1}` {
		t.Errorf("it says then %s", hello)
	}
	wantErr(t, "write", <-wrote, nil)
	wantText(t, c.host("file"), "text")
}

// TestFilter tries what a server has no reason to do.
func TestFilter(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		inside(t)
		return
	}
	if err := installFilter(); err != nil {
		t.Fatal(err)
	}
	_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	wantErr(t, "open a socket of the network", err, unix.EPERM)
	_, err = unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, []byte("12345678")), 0)
	wantErr(t, "open by a handle", err, unix.EPERM)
	wantErr(t, "mount", unix.Mount("none", "/mnt", "tmpfs", 0, ""), unix.EPERM)
	wantErr(t, "execute", unix.Exec("/bin/true", nil, nil), unix.EPERM)
	wantErr(t, "send a signal", unix.Kill(os.Getppid(), 0), unix.EPERM)
	wantErr(t, "leave namespaces", unix.Unshare(unix.CLONE_NEWUSER), unix.EPERM)
	_, err = unix.Openat(unix.AT_FDCWD, "/", unix.O_PATH, 0)
	wantErr(t, "open", err, nil)
}
