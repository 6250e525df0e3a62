// Package clickhousetest starts servers for tests: ClickHouse's engine behind its HTTP protocol,
// by test/clickhouse/server.py.
package clickhousetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"shoal/internal/clickhouse"
	"shoal/internal/freeport"
)

const (
	user     = "shoal"
	password = "hush, it's \\ a secret"
	// startTime is how long the engine may take to load on a busy machine.
	startTime = 2 * time.Minute
)

// Server is a server that can be killed and started again, with what it has on its disk.
type Server struct {
	t         testing.TB
	dir, port string
	cmd       *exec.Cmd
}

// Start starts a server, which ends with the test. Without its engine, the test is skipped.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := os.Stat(python()); err != nil {
		t.Skip("needs ClickHouse's engine: scripts/test clickhouse installs it")
	}
	s := &Server{t: t, dir: t.TempDir(), port: strconv.Itoa(freeport.Of(t))}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// folder is test/clickhouse.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	if !filepath.IsAbs(file) { // built with -trimpath: shoal/internal/…
		wd, _ := os.Getwd()
		for dir := wd; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == "/" {
				return filepath.Join(dir, "test", "clickhouse")
			}
		}
	}
	return filepath.Join(filepath.Dir(file), "../../../test/clickhouse")
}

func python() string { return filepath.Join(folder(), ".venv", "bin", "python") }

// Start starts a server that was killed.
func (s *Server) Start() {
	s.t.Helper()
	s.cmd = exec.CommandContext(context.Background(), python(), filepath.Join(folder(), "server.py"),
		filepath.Join(s.dir, "data"), s.port, user, password) // Kill ends it
	s.cmd.Dir, s.cmd.Stderr = s.dir, os.Stderr
	// The server must not outlive a test binary that is killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	late := time.AfterFunc(startTime, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.t.Fatalf("the server does not start: %v", err)
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Options returns how the server is reached, and a database in it, which need not be there.
func (s *Server) Options(database string) clickhouse.Options {
	return clickhouse.Options{URL: s.URL(database), Password: password}
}

// URL returns the address of a database.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("http://%s@127.0.0.1:%s/%s", user, s.port, database)
}

// Password returns the password of the URL's user.
func (s *Server) Password() string { return password }

// Client returns a client of a database.
func (s *Server) Client(database string) *clickhouse.Client {
	s.t.Helper()
	c, err := clickhouse.New(s.Options(database))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}
