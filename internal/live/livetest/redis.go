// Package livetest starts a Redis for tests.
package livetest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a real server at a port of its own, which keeps nothing on the disk.
type Redis struct {
	t    *testing.T
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
}

// Start starts Debian's server with further arguments, and ends it with the test. The test is skipped
// where there is none.
func Start(t *testing.T, args ...string) *Redis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("needs Debian's package redis-server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Redis{t: t, dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port, args: args}
	l.Close()
	t.Cleanup(r.Kill)
	r.Restart()
	return r
}

// Port is where the server listens, unless an argument says otherwise.
func (r *Redis) Port() int { return r.port }

// URL is its address without a password.
func (r *Redis) URL() string { return fmt.Sprintf("redis://127.0.0.1:%d", r.port) }

// Kill ends the server as a crash would; all that it knew is gone.
func (r *Redis) Kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

// Stall keeps the server from answering until Resume.
func (r *Redis) Stall() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends a stall.
func (r *Redis) Resume() { _ = r.cmd.Process.Signal(syscall.SIGCONT) }

// Restart starts the server again where it was, and returns when it takes connections.
func (r *Redis) Restart() {
	r.t.Helper()
	args := append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(r.port), "--save", "", "--appendonly", "no",
		"--dir", r.dir, "--logfile", r.dir + "/log"}, r.args...)
	cmd := exec.CommandContext(context.Background(), "redis-server", args...) // Kill ends it
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}        // it must not outlive the tests
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.cmd = cmd
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", r.port)); err == nil {
			c.Close()
			return
		}
	}
	r.t.Fatal("redis-server does not start")
}

// Client is a connection of the test's own.
func (r *Redis) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", r.port)})
	r.t.Cleanup(func() { c.Close() })
	return c
}

// Lasting returns the keys of the server that would stay for ever.
func (r *Redis) Lasting(ctx context.Context) (list []string, err error) {
	c := r.Client()
	keys, err := c.Keys(ctx, "*").Result()
	for _, key := range keys {
		left, err := c.TTL(ctx, key).Result()
		if err != nil {
			return nil, err
		}
		if left < 0 && left != -2 { // -2 is gone meanwhile
			list = append(list, key)
		}
	}
	return list, err
}
