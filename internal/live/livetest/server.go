package livetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"shoal/internal/freeport"
)

// ErrMissing says what a server needs that is not installed.
var ErrMissing = errors.New("not installed")

// startTime is how long a server may take to start on a busy machine.
const startTime = 30 * time.Second

// Server is Debian's Redis at a port of its own, which keeps nothing on the disk.
type Server struct {
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
}

// StartServer starts a server with further arguments and its log in a directory. Kill ends it, as does
// the end of this process. It fails with ErrMissing where Redis is not installed.
func StartServer(ctx context.Context, dir string, args ...string) (*Server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("needs Debian's package redis-server: %w", ErrMissing)
	}
	port, err := freeport.Take()
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, port: port, args: args}
	if err := s.start(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// start starts the server where it was, and returns when it takes connections.
func (s *Server) start(ctx context.Context) error {
	args := append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--save", "", "--appendonly", "no",
		"--dir", s.dir, "--logfile", s.dir + "/log"}, s.args...)
	cmd := exec.CommandContext(context.Background(), "redis-server", args...) // Kill ends it
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}        // it must not outlive this process
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := new(net.Dialer).DialContext(ctx, "tcp", s.address()); err == nil {
			return c.Close()
		}
	}
	return errors.New("redis-server does not start")
}

// Kill ends the server as a crash would; all that it knew is gone.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Port is where the server listens, unless an argument says otherwise.
func (s *Server) Port() int { return s.port }

// URL is its address without a password.
func (s *Server) URL() string { return "redis://" + s.address() }

func (s *Server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }
