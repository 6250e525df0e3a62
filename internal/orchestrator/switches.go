package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"
	"sync/atomic"

	"shoal/internal/atomicfile"
	"shoal/internal/shoal"
)

// switches are how features stand that this machine refuses, because no api sees what asks for
// them. An api tells it; a file keeps it for the time after a restart, until an api tells it again.
type switches struct {
	path string

	mu      sync.Mutex // held while the standing changes, and is kept
	unkept  bool
	current atomic.Pointer[standings]
}

// standings are by the features' names, so that those of other versions are kept too.
type standings map[string]shoal.Standing

func newSwitches(path string) *switches {
	s := &switches{path: path}
	s.current.Store(&standings{})
	return s
}

// load reads what an earlier process kept.
func (s *switches) load() error {
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept := standings{}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return fmt.Errorf("read how switches stand: %w", err)
	}
	s.current.Store(&kept)
	return nil
}

// Switch implements shoal.Node. What it is told counts from when it returns, also if it returns an
// error because that could not be kept.
func (s *switches) Switch(_ context.Context, feature shoal.Switches, standing shoal.Standing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, name := *s.current.Load(), feature.String()
	if before, told := known[name]; told && before.Equal(standing) && !s.unkept {
		return nil
	}
	next := maps.Clone(known)
	next[name] = standing
	s.current.Store(&next)
	text, err := json.Marshal(next)
	if err == nil {
		err = atomicfile.WriteFile(s.path, text, 0o600, atomicfile.Durable)
	}
	if s.unkept = err != nil; s.unkept {
		return fmt.Errorf("keep how switches stand: %w", err)
	}
	return nil
}

// offFor reports whether a team cannot use a feature. What nobody has told is on.
func (s *switches) offFor(feature shoal.Switches, teamID string) bool {
	return (*s.current.Load())[feature.String()].OffFor(teamID)
}
