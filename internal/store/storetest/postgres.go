// Package storetest starts Debian's Postgres for tests, with a database for each.
package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
)

// postgres is the test binary's private server, started on first use and ended by Main.
var postgres struct {
	once   sync.Once
	skip   string
	err    error
	dir    string
	cmd    *exec.Cmd
	number int
}

// Main runs the tests of a package, and ends the server that they have started. Their TestMain exits
// with its result.
func Main(m *testing.M) int {
	defer stop()
	return m.Run()
}

// NewDatabase returns the URL of an empty database. It skips the test where Postgres is not
// installed.
func NewDatabase(t testing.TB) string {
	t.Helper()
	postgres.once.Do(func() { postgres.skip, postgres.err = start() })
	if postgres.skip != "" {
		t.Skip(postgres.skip)
	}
	if postgres.err != nil {
		t.Fatal(postgres.err)
	}
	postgres.number++
	name := fmt.Sprintf("shoal%d", postgres.number)
	Exec(t, location("postgres"), "CREATE DATABASE "+name)
	return location(name)
}

// Exec carries out statements in a database, each by itself.
func Exec(t testing.TB, location string, statements ...string) {
	t.Helper()
	db, err := sql.Open("pgx", location)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func location(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {postgres.dir}, "user": {"shoal"}}.Encode()
}

// start makes a server that listens on a socket in a temporary directory only. Postgres refuses to
// run as root, so root starts it as an ordinary user.
func start() (skip string, err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "needs Debian's package postgresql", nil
	}
	bin := filepath.Dir(slices.Max(found))
	if postgres.dir, err = os.MkdirTemp("", "shoal-postgres-"); err != nil {
		return "", err
	}
	var as *syscall.Credential
	if os.Geteuid() == 0 {
		if as, err = credential("postgres", "nobody"); err != nil {
			return "needs an unprivileged user to run Postgres as", nil
		}
		if err = os.Chown(postgres.dir, int(as.Uid), int(as.Gid)); err != nil {
			return "", err
		}
	}
	data := filepath.Join(postgres.dir, "data")
	initdb := exec.CommandContext(context.Background(), filepath.Join(bin, "initdb"), "-D", data, "-U", "shoal",
		"-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	initdb.Dir, initdb.SysProcAttr = postgres.dir, &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	postgres.cmd = exec.CommandContext(context.Background(), filepath.Join(bin, "postgres"), "-D", data,
		"-k", postgres.dir, "-c", "listen_addresses=", "-c", "fsync=off") // stop ends it
	postgres.cmd.Dir = postgres.dir
	// The server must not outlive a test binary that is killed.
	postgres.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGTERM}
	if err := postgres.cmd.Start(); err != nil {
		postgres.cmd = nil
		return "", err
	}
	return "", wait()
}

func wait() error {
	db, err := sql.Open("pgx", location("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
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

func stop() {
	if postgres.cmd != nil {
		_ = postgres.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = postgres.cmd.Wait()
	}
	if postgres.dir != "" {
		_ = os.RemoveAll(postgres.dir)
	}
}

func credential(names ...string) (*syscall.Credential, error) {
	var last error
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			last = err
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, last
}
