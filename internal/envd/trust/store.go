// Package trust adds the platform's certificate authority to the guest's trust
// store (envd.md §1.4.1).
package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrBusy says that the request ended while an older install was still
// cleaning up.
var ErrBusy = errors.New("another installation of a certificate authority is in progress")

// Store is the guest's trust store. Use New. Wait waits for what it does in the background.
type Store struct {
	paths Paths
	log   *slog.Logger

	turn       chan struct{} // has a token; serializes changes of the bundle
	mu         sync.Mutex    // guards the rest
	installed  string        // the PEM in the bundle
	stale      []string      // older ones that are still to be removed from it
	background sync.WaitGroup
}

// Paths are where the guest's trust is.
type Paths struct {
	Bundle   string   // the file that programs read
	Extra    string   // where update-ca-certificates looks for additions
	Policies []string // directories of browsers' policies
	Sudoers  string   // directory of files that sudo reads; is never made
}

// New returns the store with these paths.
func New(paths Paths, log *slog.Logger) *Store {
	s := &Store{paths: paths, log: log, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// Install makes the PEM trusted before it returns, in place of the one that was
// installed before. The old one leaves the bundle in the background.
func (s *Store) Install(ctx context.Context, pem string) error {
	pem = strings.TrimRight(pem, "\r\n") + "\n"
	done, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if pem == s.installed {
		return nil
	}
	s.remember()
	err = s.append(pem)
	if err == nil {
		err = s.tell(pem)
	}
	if err != nil {
		return fmt.Errorf("add a certificate authority: %w", err)
	}
	if s.installed != "" {
		s.stale = append(s.stale, s.installed)
	}
	s.installed = pem
	s.background.Go(s.cleanUp)
	return nil
}

// Remove takes out what was installed last, by this daemon or an earlier one on the same disk.
func (s *Store) Remove(ctx context.Context) error {
	s.mu.Lock()
	nothing := s.installed == "" && len(s.stale) == 0
	s.mu.Unlock()
	if nothing {
		if _, err := os.Lstat(s.paths.Extra); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	done, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember()
	gone := append(s.stale, s.installed)
	s.installed, s.stale = "", nil
	var errs error
	for _, pem := range gone {
		errs = errors.Join(errs, s.untell(pem))
	}
	errs = errors.Join(errs, s.remove(gone, ""))
	if err := os.Remove(s.paths.Extra); !errors.Is(err, fs.ErrNotExist) {
		errs = errors.Join(errs, err)
	}
	if errs != nil {
		return fmt.Errorf("remove a certificate authority: %w", errs)
	}
	return nil
}

// remember learns what an earlier daemon has installed; s.mu is held.
func (s *Store) remember() {
	if s.installed != "" {
		return
	}
	if old, err := os.ReadFile(s.paths.Extra); err == nil {
		s.installed = string(old)
	}
}

// takeTurn waits until nobody else changes the bundle. The error is ErrBusy when ctx ends before.
func (s *Store) takeTurn(ctx context.Context) (done func(), err error) {
	select {
	case <-s.turn:
		return func() { s.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
}

// Wait waits for the background work.
func (s *Store) Wait() { s.background.Wait() }

// append adds the PEM to the bundle, unless an earlier daemon on the same disk has done so.
func (s *Store) append(pem string) error {
	if data, err := os.ReadFile(s.paths.Bundle); err == nil && strings.Contains(string(data), pem) {
		return nil
	}
	return s.write(pem)
}

// write adds a text to the end of the bundle.
func (s *Store) write(text string) error {
	if err := os.MkdirAll(filepath.Dir(s.paths.Bundle), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(s.paths.Bundle, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// cleanUp writes the extra file and removes replaced authorities. If a newer
// Install came first, there is nothing left for this one to do.
func (s *Store) cleanUp() {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	s.mu.Lock()
	current, stale := s.installed, s.stale
	s.stale = nil
	s.mu.Unlock()
	if current == "" {
		return // it was removed
	}
	if err := s.writeExtra(current); err != nil {
		s.log.Warn("a certificate authority will not survive update-ca-certificates", "error", err)
	}
	if err := s.remove(stale, current); err != nil {
		s.log.Warn("a replaced certificate authority stays in the bundle", "error", err)
		return
	}
	if len(stale) == 0 {
		return
	}
	var err error
	for _, pem := range stale {
		err = errors.Join(err, s.untell(pem))
	}
	if err = errors.Join(err, s.tell(current)); err != nil {
		s.log.Warn("some programs may go on to trust a replaced certificate authority", "error", err)
	}
}

func (s *Store) writeExtra(pem string) error {
	if old, err := os.ReadFile(s.paths.Extra); err == nil && string(old) == pem {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.paths.Extra), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.paths.Extra, []byte(pem), 0o644)
}

// remove replaces the bundle by one without the stale texts.
func (s *Store) remove(stale []string, current string) error {
	if len(stale) == 0 {
		return nil
	}
	data, err := os.ReadFile(s.paths.Bundle)
	if err != nil {
		return err
	}
	text := string(data)
	for _, pem := range stale {
		if pem != current && pem != "" {
			text = strings.Replace(text, pem, "", 1)
		}
	}
	if !strings.Contains(text, current) { // the stale text contained it
		text += current
	}
	return replaceFile(s.paths.Bundle, text, 0o644)
}

// replaceFile leaves a whole file at any time. Sudo skips the one that it writes, for the dot.
func replaceFile(path, text string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
