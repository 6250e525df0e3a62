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
	dir string
	cmd *exec.Cmd
}

// StartServer starts a server with settings such as "fsync=off". Stop ends it, as does the end of this
// process. It fails with ErrMissing where Postgres is not installed.
func StartServer(ctx context.Context, settings ...string) (*Server, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, fmt.Errorf("needs Debian's package postgresql: %w", ErrMissing)
	}
	as, err := owner()
	if err != nil {
		return nil, err
	}
	s := &Server{}
	if s.dir, err = os.MkdirTemp("", "shoal-postgres-"); err != nil {
		return nil, err
	}
	if as != nil {
		err = os.Chown(s.dir, int(as.Uid), int(as.Gid))
	}
	if err == nil {
		err = s.start(ctx, filepath.Dir(slices.Max(found)), as, settings)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// start makes a cluster and runs it.
func (s *Server) start(ctx context.Context, bin string, as *syscall.Credential, settings []string) error {
	data := filepath.Join(s.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "shoal",
		"-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	initdb.Dir, initdb.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	args := []string{"-D", data, "-k", s.dir, "-c", "listen_addresses="}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	cmd := exec.CommandContext(context.Background(), filepath.Join(bin, "postgres"), args...) // Stop ends it
	cmd.Dir = s.dir
	// The server must not outlive a process that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGTERM}
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
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = s.cmd.Wait()
	}
	_ = os.RemoveAll(s.dir)
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
