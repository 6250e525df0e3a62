// Package trust adds the platform's certificate authority to the guest's trust
// store (envd.md §1.4.1).
package trust

import (
	"context"
	"errors"
	"fmt"
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
	bundle string // the file that programs read
	extra  string // where update-ca-certificates looks for additions
	log    *slog.Logger

	turn       chan struct{} // has a token; serializes changes of the bundle
	mu         sync.Mutex    // guards the rest
	installed  string        // the PEM in the bundle
	stale      []string      // older ones that are still to be removed from it
	background sync.WaitGroup
}

// New returns the store with these two paths.
func New(bundle, extra string, log *slog.Logger) *Store {
	s := &Store{bundle: bundle, extra: extra, log: log, turn: make(chan struct{}, 1)}
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
	if err := s.append(pem); err != nil {
		return fmt.Errorf("add a certificate authority: %w", err)
	}
	if s.installed != "" {
		s.stale = append(s.stale, s.installed)
	}
	s.installed = pem
	s.background.Go(s.cleanUp)
	return nil
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
	if data, err := os.ReadFile(s.bundle); err == nil && strings.Contains(string(data), pem) {
		return nil
	}
	return s.write(pem)
}

// write adds a text to the end of the bundle.
func (s *Store) write(text string) error {
	if err := os.MkdirAll(filepath.Dir(s.bundle), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(s.bundle, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
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
	if err := s.writeExtra(current); err != nil {
		s.log.Warn("a certificate authority will not survive update-ca-certificates", "error", err)
	}
	if err := s.remove(stale, current); err != nil {
		s.log.Warn("a replaced certificate authority stays in the bundle", "error", err)
	}
}

func (s *Store) writeExtra(pem string) error {
	if old, err := os.ReadFile(s.extra); err == nil && string(old) == pem {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.extra), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.extra, []byte(pem), 0o644)
}

// remove replaces the bundle by one without the stale texts.
func (s *Store) remove(stale []string, current string) error {
	if len(stale) == 0 {
		return nil
	}
	data, err := os.ReadFile(s.bundle)
	if err != nil {
		return err
	}
	text := string(data)
	for _, pem := range stale {
		if pem != current {
			text = strings.Replace(text, pem, "", 1)
		}
	}
	if !strings.Contains(text, current) { // the stale text contained it
		text += current
	}
	return replaceFile(s.bundle, text)
}

func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
