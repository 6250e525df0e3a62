// Package livetest starts a Redis for tests, and for measurements.
package livetest

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

// Redis is a server of a test's.
type Redis struct {
	*Server
	t *testing.T
}

// Start starts Debian's server with further arguments, and ends it with the test. The test is skipped
// where there is none.
func Start(t *testing.T, args ...string) *Redis {
	t.Helper()
	s, err := StartServer(t.Context(), t.TempDir(), args...)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return &Redis{s, t}
}

// Stall keeps the server from answering until Resume. It returns when all of its threads stand still.
func (r *Redis) Stall() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, r.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		r.t.Fatal(err)
	}
}

// Resume ends a stall.
func (r *Redis) Resume() { _ = r.cmd.Process.Signal(syscall.SIGCONT) }

// Restart starts the server again where it was, and returns when it takes connections.
func (r *Redis) Restart() {
	r.t.Helper()
	if err := r.start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// Client is a connection of the test's own.
func (r *Redis) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: r.address()})
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
