// Package storetest starts a Postgres for tests.
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

// ErrMissing means that this machine has no Postgres, or no user to run it as.
var ErrMissing = errors.New("needs Debian's package postgresql and an unprivileged user")

// Postgres is a server that listens on a socket in a temporary directory alone.
type Postgres struct {
	dir       string
	cmd       *exec.Cmd
	databases int
}

// Start starts a server, which the caller stops. Postgres refuses to run as root, so root starts it as an
// ordinary user.
func Start() (*Postgres, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, ErrMissing
	}
	var as *syscall.Credential
	if os.Geteuid() == 0 {
		if as = credential("postgres", "nobody"); as == nil {
			return nil, ErrMissing
		}
	}
	dir, err := os.MkdirTemp("", "shoal-postgres-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir}
	if err := p.start(filepath.Dir(slices.Max(found)), as); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *Postgres) start(bin string, as *syscall.Credential) error {
	if as != nil {
		if err := os.Chown(p.dir, int(as.Uid), int(as.Gid)); err != nil {
			return err
		}
	}
	data := filepath.Join(p.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "shoal", "-A", "trust", "--no-sync",
		"-E", "UTF8", "--locale=C.UTF-8")
	initdb.Dir, initdb.SysProcAttr = p.dir, &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", p.dir, "-c", "listen_addresses=",
		"-c", "fsync=off")
	cmd.Dir = p.dir
	// The server must not outlive a test binary that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd = cmd
	return p.wait()
}

func (p *Postgres) wait() error {
	db, err := sql.Open("pgx", p.url("postgres"))
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

// Database makes an empty database and returns its URL. One call at a time.
func (p *Postgres) Database(ctx context.Context) (string, error) {
	p.databases++
	name := fmt.Sprintf("shoal%d", p.databases)
	admin, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		return "", err
	}
	defer admin.Close()
	_, err = admin.ExecContext(ctx, "CREATE DATABASE "+name)
	return p.url(name), err
}

func (p *Postgres) url(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {p.dir}, "user": {"shoal"}}.Encode()
}

// Stop ends the server and removes what it has written.
func (p *Postgres) Stop() {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = p.cmd.Wait()
	}
	_ = os.RemoveAll(p.dir)
}

// credential is of the first user that there is, or nil.
func credential(names ...string) *syscall.Credential {
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return nil
}
