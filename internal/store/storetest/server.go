package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
)

// ErrMissing says what a server needs that is not installed.
var ErrMissing = errors.New("not installed")

// startTime is how long a server may take to start on a busy machine.
const startTime = time.Minute

// Server is Debian's Postgres, with a directory of its own, at a socket there and nowhere else.
type Server struct {
	dir  string
	bin  string              // where Postgres's programs are
	as   *syscall.Credential // whom they run as; nil: as this process
	args []string            // of the server
	cmd  *exec.Cmd           // nil while it does not run
}

// StartServer starts a server with settings such as "fsync=off". Stop ends it, as does the end of this
// process. It fails with ErrMissing where Postgres is not installed.
func StartServer(ctx context.Context, settings ...string) (*Server, error) {
	s, err := newServer()
	if err != nil {
		return nil, err
	}
	initdb := []string{"initdb", "-U", "shoal", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"}
	if err := s.start(ctx, initdb, settings); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Standby starts a server that follows this one, until it is promoted.
func (s *Server) Standby(ctx context.Context, settings ...string) (*Server, error) {
	standby, err := newServer()
	if err != nil {
		return nil, err
	}
	copying := []string{"pg_basebackup", "-h", s.dir, "-U", "shoal", "-R", "--no-sync", "-c", "fast",
		"-d", "application_name=standby"}
	if err := standby.start(ctx, copying, settings); err != nil {
		standby.Stop()
		return nil, err
	}
	return standby, nil
}

// newServer makes the directory of a server.
func newServer() (*Server, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, fmt.Errorf("needs Debian's package postgresql: %w", ErrMissing)
	}
	as, err := owner()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: filepath.Dir(slices.Max(found)), as: as}
	if s.dir, err = os.MkdirTemp("", "shoal-postgres-"); err != nil {
		return nil, err
	}
	if as != nil {
		err = os.Chown(s.dir, int(as.Uid), int(as.Gid))
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// start has a program fill the server's data directory, and runs the server.
func (s *Server) start(ctx context.Context, fill, settings []string) error {
	data := filepath.Join(s.dir, "data")
	filling := exec.CommandContext(ctx, filepath.Join(s.bin, fill[0]), append(fill[1:], "-D", data)...)
	filling.Dir, filling.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.as}
	if out, err := filling.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", fill[0], err, out)
	}
	// Its shared memory goes with the directory, also if it is killed.
	s.args = []string{"-D", data, "-k", s.dir, "-c", "listen_addresses=", "-c", "dynamic_shared_memory_type=mmap"}
	for _, setting := range settings {
		s.args = append(s.args, "-c", setting)
	}
	return s.Run(ctx)
}

// Run runs the server, which was killed, again.
func (s *Server) Run(ctx context.Context) error {
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, "postgres"), s.args...) // Stop ends it
	cmd.Dir = s.dir
	// The server must not outlive a process that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	return s.wait(ctx)
}

// wait returns when the server answers.
func (s *Server) wait(ctx context.Context) error {
	db, err := sql.Open("pgx", s.Location("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Postgres: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends the server and removes what it kept.
func (s *Server) Stop() {
	s.end(syscall.SIGINT) // fast shutdown
	_ = os.RemoveAll(s.dir)
}

// Kill ends the server as a failure of its machine would.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Promote makes a standby the server that takes writes.
func (s *Server) Promote(ctx context.Context) error {
	return execute(ctx, s.Location("postgres"), "SELECT pg_promote()")
}

// Fence has the server take no writes any more, on connections that are open either.
func (s *Server) Fence(ctx context.Context) error {
	return execute(ctx, s.Location("postgres"), "ALTER SYSTEM SET default_transaction_read_only = on",
		"SELECT pg_reload_conf()")
}

// Create makes an empty database and returns its URL.
func (s *Server) Create(ctx context.Context, database string) (string, error) {
	err := execute(ctx, s.Location("postgres"), "CREATE DATABASE "+database)
	return s.Location(database), err
}

// Location is the URL of a database.
func (s *Server) Location(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {s.dir}, "user": {"shoal"}}.Encode()
}

// Pair is the URL of a database that is on whichever of two servers takes writes.
func Pair(database string, one, other *Server) string {
	return "postgres:///" + database + "?" + url.Values{"host": {one.dir + "," + other.dir}, "port": {"5432,5432"},
		"user": {"shoal"}, "target_session_attrs": {"read-write"}}.Encode()
}

// execute carries out statements in a database, each by itself.
func execute(ctx context.Context, location string, statements ...string) error {
	db, err := sql.Open("pgx", location)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// owner is the ordinary user that root starts the server as, because Postgres refuses to run as root;
// nil for anybody else.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("needs an unprivileged user to run Postgres as: %w", ErrMissing)
}
