package store

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
)

var updateSchema = os.Getenv("UPDATE_SCHEMA") != ""

// forEachEngine runs a scenario on a fresh SQLite database and, where Debian's
// server is installed, on a fresh Postgres database.
func forEachEngine(t *testing.T, scenario func(t *testing.T, location string)) {
	t.Run("sqlite", func(t *testing.T) {
		scenario(t, filepath.Join(t.TempDir(), "dir with space", "shoal.db"))
	})
	t.Run("postgres", func(t *testing.T) { scenario(t, newPostgresDatabase(t)) })
}

func openStore(t *testing.T, location string) *Store {
	t.Helper()
	s, err := Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// postgres is the test binary's private server, started on first use and ended
// by TestMain.
var postgres struct {
	once   sync.Once
	skip   string
	err    error
	dir    string
	cmd    *exec.Cmd
	number int
}

func TestMain(m *testing.M) {
	code := m.Run()
	stopPostgres()
	os.Exit(code)
}

func newPostgresDatabase(t *testing.T) string {
	t.Helper()
	postgres.once.Do(func() { postgres.skip, postgres.err = startPostgres() })
	if postgres.skip != "" {
		t.Skip(postgres.skip)
	}
	if postgres.err != nil {
		t.Fatal(postgres.err)
	}
	postgres.number++
	name := fmt.Sprintf("shoal%d", postgres.number)
	admin, err := sql.Open("pgx", postgresURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return postgresURL(name)
}

func postgresURL(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {postgres.dir}, "user": {"shoal"}}.Encode()
}

// startPostgres makes a server that listens on a socket in a temporary directory
// only. Postgres refuses to run as root, so root starts it as an ordinary user.
func startPostgres() (skip string, err error) {
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
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "shoal", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	initdb.Dir, initdb.SysProcAttr = postgres.dir, &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	postgres.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", postgres.dir,
		"-c", "listen_addresses=", "-c", "fsync=off")
	postgres.cmd.Dir = postgres.dir
	// The server must not outlive a test binary that is killed.
	postgres.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGTERM}
	if err := postgres.cmd.Start(); err != nil {
		postgres.cmd = nil
		return "", err
	}
	return "", waitPostgres()
}

func waitPostgres() error {
	db, err := sql.Open("pgx", postgresURL("postgres"))
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
			return fmt.Errorf("Postgres does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func stopPostgres() {
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
