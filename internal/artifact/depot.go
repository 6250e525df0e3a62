package artifact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Depot keeps artifacts permanently when the local disk is only a cache: another directory,
// for example on a network file system.
//
// Artifacts that are committed locally are copied there in the background. From then on
// they may be evicted here, least recently used first, when the local directory exceeds its
// bound. Get fetches artifacts that are not here.
type Depot struct {
	remote *Store
	bound  int64 // of the local directory, in bytes; artifacts not yet copied count, but are never evicted
	log    *slog.Logger
	grace  time.Duration // a recently used artifact may still be read

	mu      sync.Mutex
	pending map[string]bool // committed here, but not yet copied
	wake    chan struct{}
}

// NewDepot returns a depot that keeps artifacts in dir.
func NewDepot(dir string, bound int64, log *slog.Logger) (*Depot, error) {
	remote, err := Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the artifact depot: %w", err)
	}
	return &Depot{remote: remote, bound: bound, log: log, grace: time.Minute, pending: map[string]bool{},
		wake: make(chan struct{}, 1)}, nil
}

// WithDepot makes s a cache of d. It must be called before any other method, and Run must
// be running.
func (s *Store) WithDepot(d *Depot) error {
	s.depot = d
	local, err := s.List()
	if err != nil {
		return err
	}
	for _, m := range local {
		if _, err := d.remote.getLocal(m.ID); errors.Is(err, ErrMissing) {
			d.pending[m.ID] = true
		}
	}
	return nil
}

// Run copies and evicts until ctx is done. Without a depot it only waits.
func (s *Store) Run(ctx context.Context) error {
	d := s.depot
	if d == nil {
		<-ctx.Done()
		return nil
	}
	const retry = 10 * time.Second
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for {
		for _, id := range d.waiting() {
			if err := s.upload(ctx, id); err != nil && ctx.Err() == nil {
				d.log.Warn("an artifact could not be copied to the depot", "artifact", id, "error", err)
			}
		}
		if err := s.evict(); err != nil {
			d.log.Warn("the artifact cache could not be trimmed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-tick.C:
		}
	}
}

func (d *Depot) note(id string) {
	d.mu.Lock()
	d.pending[id] = true
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Depot) waiting() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for id := range d.pending {
		ids = append(ids, id)
	}
	return ids
}

func (d *Depot) settle(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pending, id)
}

func (d *Depot) isPending(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending[id]
}

func (s *Store) upload(ctx context.Context, id string) error {
	a, err := s.getLocal(id)
	if errors.Is(err, ErrMissing) { // removed in the meantime
		s.depot.settle(id)
		return nil
	} else if err != nil {
		return err
	}
	if err := copyArtifact(ctx, a, s.depot.remote); err != nil {
		return err
	}
	s.depot.settle(id)
	if _, err := s.getLocal(id); errors.Is(err, ErrMissing) {
		return s.depot.remote.Remove(id) // removed while it was copied
	}
	return nil
}

// fetch copies an artifact from the depot.
func (s *Store) fetch(id string) (*Artifact, error) {
	a, err := s.depot.remote.Get(id)
	if err != nil {
		return nil, err
	}
	if err := copyArtifact(context.Background(), a, s); err != nil {
		return nil, err
	}
	s.depot.settle(id)
	return s.getLocal(id)
}

// copyArtifact copies the files and verifies their checksums on the way, so that damage on
// one side is never stored as valid on the other.
func copyArtifact(ctx context.Context, a *Artifact, to *Store) error {
	draft, err := to.Draft(a.ID)
	if err != nil {
		return err
	}
	for _, f := range a.Files {
		if err := copyFile(ctx, filepath.Join(a.Dir, f.Name),
			filepath.Join(draft.Dir(), f.Name)); err != nil {
			return errors.Join(err, draft.Discard())
		}
	}
	draft.stopFlushing()
	files, err := seal(draft.Dir(), a.Files)
	if err == nil && !slices.EqualFunc(files, a.Files, File.same) {
		err = &CorruptError{ID: a.ID,
			Reason: "its files do not have the checksums that they were stored with"}
	}
	if err == nil {
		err = draft.finish(a.Manifest)
	}
	if err != nil {
		return errors.Join(err, draft.Discard())
	}
	return nil
}

// evict removes the least recently used artifacts that are also in the depot, until the
// local directory is within its bound.
func (s *Store) evict() error {
	local, err := s.List()
	if err != nil {
		return err
	}
	var sum int64
	for _, m := range local {
		sum += m.Size()
	}
	slices.SortFunc(local, func(a, b Manifest) int { return s.usedAt(a.ID).Compare(s.usedAt(b.ID)) })
	for _, m := range local {
		if sum <= s.depot.bound {
			return nil
		}
		if s.depot.isPending(m.ID) || time.Since(s.usedAt(m.ID)) < s.depot.grace || !s.evictable(m.ID) {
			continue
		}
		if err := s.removeLocal(m.ID); err != nil {
			return err
		}
		sum -= m.Size()
	}
	return nil
}

// evictable asks the depot, because a pending mark may have been lost with the process that
// held it.
func (s *Store) evictable(id string) bool {
	_, err := s.depot.remote.getLocal(id)
	return err == nil
}

// touch records a use in the directory's access time, which survives a restart.
func (s *Store) touch(path string) {
	now := unix.NsecToTimespec(time.Now().UnixNano())
	// Best effort: with an older time the artifact is only evicted sooner.
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{now, {Nsec: unix.UTIME_OMIT}}, 0)
}

func (s *Store) usedAt(id string) time.Time {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(s.dir, id), &st); err != nil {
		return time.Time{}
	}
	return time.Unix(st.Atim.Unix())
}
