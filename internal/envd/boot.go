package envd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/envd/answer"
	"shoal/internal/envd/tmpfiles"
	"shoal/internal/envdapi"
)

// Guests have no init system, so the daemon prepares what packages expect of one. Builds ask
// for it after each step and keep the result, also what is below /run, in the image. So a
// guest that begins with an image needs nothing. A disk that was booted before is another
// matter: its /run is what a crash would leave.

// How long the preparation may take at a boot, when everybody waits for it, and in a build.
const (
	bootLimit    = 2 * time.Second
	prepareLimit = 30 * time.Second
)

// plainUser is the user that gets a runtime directory, as if it had logged in.
const plainUser = "user"

// runDirs are what every guest has below /run, with their permissions.
var runDirs = []struct {
	name string
	mode os.FileMode
}{{"e2b", 0o755}, {"lock", 0o777 | os.ModeSticky}}

func (s *Server) at(name string) string { return filepath.Join(s.config.Root, name) }

// boot prepares a disk that an earlier guest has run on: /run is made anew, and what packages
// want removed then is removed. On a fresh image it costs one system call.
func (s *Server) boot(ctx context.Context) {
	if !s.config.Boots {
		return
	}
	if _, err := os.Lstat(s.identityFile(envdapi.SandboxVariable)); err != nil {
		return
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	s.machine.adopt(cmp.Or(s.formerIdentity(envdapi.SandboxIDVariable),
		s.formerIdentity(envdapi.TemplateIDVariable)))
	if err := s.clearRun(); err != nil {
		s.log.Warn("/run could not be cleared", "error", err)
	}
	if _, err := s.prepare(ctx, true); err != nil {
		s.log.Warn("not all was prepared that packages ask for", "error", err)
	}
	s.log.Info("booted from a disk", "took", time.Since(begin))
}

func (s *Server) identityFile(key string) string { return filepath.Join(s.config.RunDir, "."+key) }

func (s *Server) formerIdentity(key string) string {
	data, _ := os.ReadFile(s.identityFile(key))
	return string(data)
}

func (s *Server) clearRun() error {
	run := s.at("/run")
	entries, err := os.ReadDir(run)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(run, e.Name())))
	}
	for _, dir := range runDirs {
		err = errors.Join(err, makeDir(filepath.Join(run, dir.name), dir.mode))
	}
	return err
}

func makeDir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(path, mode)
}

// prepare does what is to be done before services start: it makes files and directories, and
// trusts the authorities that were added to the image. It returns the names below /run that belong to it.
func (s *Server) prepare(ctx context.Context, boot bool) ([]string, error) {
	s.prepareMu.Lock()
	defer s.prepareMu.Unlock()
	system := tmpfiles.System{Root: s.config.Root, Accounts: s.accounts}
	names, err := system.Create(ctx, boot)
	users, userErr := s.runtimeDir()
	return append(names, users...), errors.Join(err, userErr, s.trust.AddAnchors(ctx))
}

// runtimeDir makes /run/user/1000, which a login would make.
func (s *Server) runtimeDir() ([]string, error) {
	u, err := s.accounts.Lookup(plainUser)
	if err != nil {
		return nil, nil // an image may be without
	}
	names := []string{"user", fmt.Sprintf("user/%d", u.UID)}
	dir := s.at("/run/" + names[1])
	return names, errors.Join(makeDir(filepath.Dir(dir), 0o755), makeDir(dir, 0o700),
		os.Lchown(dir, int(u.UID), int(u.GID)))
}

// handlePrepare serves POST /prepare, by which a build has the guest prepared. What cannot be
// done is logged; it is no reason to fail a build.
func (s *Server) handlePrepare(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), prepareLimit)
	defer cancel()
	names, err := s.prepare(ctx, false)
	if err != nil {
		s.log.Warn("not all was prepared that packages ask for", "error", err)
	}
	var prepared envdapi.Prepared
	size := 0
	for _, name := range names {
		if size += len(name); size > envdapi.MaxPrepared {
			s.log.Warn("packages ask for more below /run than is kept")
			break
		}
		prepared.Run = append(prepared.Run, name)
	}
	answer.JSON(w, prepared)
}
