// Package starter starts sandbox kernels from a process of its own that has little memory.
//
// A process in a new user namespace cannot be started by vfork: its identities are mapped while
// it waits, and vfork stops who would do that. A fork copies the tables of all memory, and
// afterwards the first write to each page is a fault.
//
// The starter gives its children to its own parent (CLONE_PARENT), so it is shoal that waits
// for kernels, as if it had started them. The starter ends when shoal does.
package starter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"shoal/internal/runtime/gvisor/pin"
)

// answerTime bounds how long a process may take to be started.
const answerTime = time.Minute

// request is a process to be started. Its files come with it.
type request struct {
	Path, Dir  string
	Args, Env  []string
	Attr       *syscall.SysProcAttr
	Namespaces []specs.LinuxNamespace
	Stderr     bool // the first file is standard error; the others begin at 3
}

// answer says what became of it.
type answer struct {
	PID   int
	Error string
}

// maxMessage is the most that a request or an answer has, in bytes, and maxFiles the most files.
const (
	maxMessage = 64 << 10
	maxFiles   = 250
)

// Starter is the parent's side. The zero value is of no use; see New.
type Starter struct {
	program string

	mu   sync.Mutex    // held while a process is started
	conn *net.UnixConn // nil until one is started, and after the starter was lost
}

// New returns a starter whose process is yet to begin. The program is one whose main calls
// kernel.Run; empty is this one.
func New(program string) *Starter {
	if program == "" {
		program = "/proc/self/exe"
	}
	return &Starter{program: program}
}

// Start starts a process in namespaces, and sets cmd.Process. Of its standard files it has only
// standard error, if that is an *os.File. It is a child of this process.
func (s *Starter) Start(cmd *exec.Cmd, namespaces []specs.LinuxNamespace) error {
	r := request{Path: cmd.Path, Dir: cmd.Dir, Args: cmd.Args, Env: cmd.Env, Attr: cmd.SysProcAttr,
		Namespaces: namespaces}
	var files []*os.File
	if f, ok := cmd.Stderr.(*os.File); ok && f != nil {
		r.Stderr, files = true, append(files, f)
	}
	files = append(files, cmd.ExtraFiles...)
	message, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode what is to be started: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := s.ask(message, files)
	if err != nil {
		return err
	}
	cmd.Process, err = os.FindProcess(pid)
	return err
}

// ask sends a request, to a new starter if the old one has ended, and reads the answer.
func (s *Starter) ask(message []byte, files []*os.File) (pid int, err error) {
	if s.conn == nil || send(s.conn, message, files) != nil {
		s.hangUp()
		if s.conn, err = launch(s.program); err == nil {
			err = send(s.conn, message, files)
		}
		if err != nil {
			s.hangUp()
			return 0, fmt.Errorf("reach the starter of kernels: %w", err)
		}
	}
	got, err := readAnswer(s.conn)
	if err != nil {
		s.hangUp() // it ends what it has started, if it still can
		return 0, fmt.Errorf("hear from the starter of kernels: %w", err)
	}
	if got.Error != "" {
		return 0, errors.New(got.Error)
	}
	return got.PID, nil
}

func (s *Starter) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

func readAnswer(conn *net.UnixConn) (answer, error) {
	var a answer
	if err := conn.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return a, err
	}
	data := make([]byte, maxMessage)
	n, err := conn.Read(data)
	if err != nil {
		return a, err
	}
	if n == 0 {
		return a, io.ErrUnexpectedEOF
	}
	return a, json.Unmarshal(data[:n], &a)
}

// launch begins a starter, and returns the connection to it.
func launch(program string) (*net.UnixConn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "starter"), os.NewFile(uintptr(pair[1]), "shoal")
	defer ours.Close()
	defer theirs.Close()
	cmd := &exec.Cmd{Path: program, Dir: "/", Args: []string{pin.StarterArgv0}, Env: []string{},
		ExtraFiles: []*os.File{theirs}, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	conn, err := connection(ours)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // ends with the starter, which ends when it is hung up
	return conn, nil
}

// connection is of a socket that has been opened; it does not need the file any more.
func connection(f *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

func send(conn *net.UnixConn, message []byte, files []*os.File) error {
	if len(files) > maxFiles || len(message) > maxMessage {
		return fmt.Errorf("%d files and %d bytes are too many", len(files), len(message))
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	_, _, err := conn.WriteMsgUnix(message, unix.UnixRights(fds...), nil)
	return err
}
