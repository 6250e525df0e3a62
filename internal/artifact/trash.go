package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

// Who finds that nothing refers to an artifact may be mistaken: a database may be the wrong
// one, or an old one. So the artifact rests in the trash first, a directory beside the
// others. Get brings it back, and only EmptyTrash and MakeRoom end it. An artifact of the
// depot rests in the depot's trash, so that it takes nothing of the local cache.

const (
	// TrashTime is how long an artifact rests in the trash, unless the disk is needed.
	TrashTime = 72 * time.Hour
	// trashReserve is the part of a file system, one in so many, that must be free for the
	// trash to stay. Guests start until a hundredth is left, so the trash goes well before it
	// could keep one from that.
	trashReserve = 20
	trashDir     = ".trash"
)

// Trashed is an artifact in the trash.
type Trashed struct {
	Manifest
	// Since is when it was put there.
	Since time.Time
}

// Gone counts artifacts and their bytes that are gone for good.
type Gone struct {
	Artifacts int
	Bytes     int64
}

func (g Gone) plus(other Gone) Gone {
	return Gone{Artifacts: g.Artifacts + other.Artifacts, Bytes: g.Bytes + other.Bytes}
}

// Trash puts an artifact into the trash; it is no error if there is none. From then on it
// is missing from lists.
func (s *Store) Trash(id string) error {
	if s.depot == nil {
		return s.trashLocal(id)
	}
	remote := s.depot.remote
	if _, err := remote.getLocal(id); err == nil && !s.depot.isPending(id) {
		return errors.Join(remote.trashLocal(id), s.removeLocal(id))
	}
	s.depot.settle(id)
	return errors.Join(s.trashLocal(id), remote.trashLocal(id))
}

func (s *Store) trashLocal(id string) error {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	t := trashName{id: id, since: time.Now()}
	err = os.MkdirAll(filepath.Join(s.dir, trashDir), 0o700)
	if err == nil {
		err = os.Rename(path, s.trashPath(t))
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil // removed in the meantime
	case errors.Is(err, unix.ENOSPC):
		return s.removeLocal(id) // MakeRoom would, in a moment
	case err == nil: // an earlier one of the name goes
		_, err = s.destroy(func(other trashName, _ Gone) bool { return other.id == id && !other.since.Equal(t.since) })
	}
	if err != nil {
		return fmt.Errorf("put artifact %s into the trash: %w", id, err)
	}
	return nil
}

// BringBack gives an artifact in the trash its name again, and tells whether it did. It does
// not if there is one of that name outside of the trash.
func (s *Store) BringBack(id string) (bool, error) {
	back, err := s.bringBackLocal(id)
	if s.depot == nil || err != nil {
		return back, err
	}
	if back {
		s.depot.note(id) // it was not copied when it went
		return true, nil
	}
	return s.depot.remote.bringBackLocal(id)
}

func (s *Store) bringBackLocal(id string) (bool, error) {
	path, err := s.path(id)
	if err != nil {
		return false, err
	}
	list, err := s.readTrash()
	if err != nil {
		return false, err
	}
	for _, t := range slices.Backward(list) { // the newest first
		if t.id != id {
			continue
		}
		err := atomicfile.Rename(s.trashPath(t), path, atomicfile.Durable)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
			// It has left the trash for good, or was made anew.
		default:
			return false, fmt.Errorf("bring artifact %s back: %w", id, err)
		}
	}
	return false, nil
}

// Trashed lists what is in the trash, the oldest first.
func (s *Store) Trashed() ([]Trashed, error) {
	list, err := s.trashedLocal()
	if s.depot == nil || err != nil {
		return list, err
	}
	there, err := s.depot.remote.trashedLocal()
	list = append(list, there...)
	slices.SortStableFunc(list, func(a, b Trashed) int { return a.Since.Compare(b.Since) })
	return list, err
}

func (s *Store) trashedLocal() ([]Trashed, error) {
	names, err := s.readTrash()
	if err != nil {
		return nil, err
	}
	var list []Trashed
	for _, t := range names {
		list = append(list, Trashed{Manifest: s.manifestOf(t), Since: t.since})
	}
	return list, nil
}

// trashName is what a name in the trash says. Most who look need no more, and each manifest is
// a file to read.
type trashName struct {
	id    string
	since time.Time
	entry os.DirEntry
}

func (s *Store) manifestOf(t trashName) Manifest {
	m := readManifest(s.trashPath(t), t.entry)
	m.ID = t.id
	return m
}

// readTrash lists what is in the local trash, the oldest first.
func (s *Store) readTrash() ([]trashName, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, trashDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the artifacts' trash: %w", err)
	}
	var list []trashName
	for _, e := range entries {
		at, id, _ := strings.Cut(e.Name(), "-")
		since, err := strconv.ParseInt(at, 10, 64)
		if err != nil || !idForm.MatchString(id) {
			continue
		}
		list = append(list, trashName{id: id, since: time.Unix(0, since), entry: e})
	}
	slices.SortFunc(list, func(a, b trashName) int {
		return cmp.Or(a.since.Compare(b.since), strings.Compare(a.id, b.id))
	})
	return list, nil
}

// trashPath is where an artifact in the trash is. The time is part of the name, so that
// one step puts it there.
func (s *Store) trashPath(t trashName) string {
	return filepath.Join(s.dir, trashDir, fmt.Sprintf("%d-%s", t.since.UnixNano(), t.id))
}

// EmptyTrash removes for good what was put into the trash before a time.
func (s *Store) EmptyTrash(before time.Time) (Gone, error) {
	old := func(t trashName, _ Gone) bool { return t.since.Before(before) }
	gone, err := s.destroy(old)
	if s.depot != nil {
		there, remoteErr := s.depot.remote.destroy(old)
		gone, err = gone.plus(there), errors.Join(err, remoteErr)
	}
	return gone, err
}

// MakeRoom removes the oldest of the trash for good, as much as the file system is short of
// its reserve.
func (s *Store) MakeRoom() (Gone, error) {
	gone, err := s.makeRoomLocal()
	if s.depot != nil {
		there, remoteErr := s.depot.remote.makeRoomLocal()
		gone, err = gone.plus(there), errors.Join(err, remoteErr)
	}
	return gone, err
}

func (s *Store) makeRoomLocal() (Gone, error) {
	free, total, err := s.space(s.dir)
	if err != nil {
		return Gone{}, err
	}
	// What has gone is counted: some file systems say only later that it is free.
	missing := Missing(free, total)
	return s.destroy(func(_ trashName, gone Gone) bool { return gone.Bytes < missing })
}

// destroy removes for good what is in the local trash and matches, the oldest first. matches
// is told what has gone before.
func (s *Store) destroy(matches func(t trashName, gone Gone) bool) (Gone, error) {
	list, err := s.readTrash()
	if err != nil || len(list) == 0 {
		return Gone{}, err
	}
	var gone Gone
	for _, t := range list {
		if !matches(t, gone) {
			continue
		}
		m := s.manifestOf(t)
		if err := s.erase(s.trashPath(t)); err != nil {
			return gone, fmt.Errorf("remove artifact %s from the trash: %w", t.id, err)
		}
		gone = gone.plus(Gone{Artifacts: 1, Bytes: m.Size()})
	}
	return gone, nil
}

// WithSpace has the store, and its depot, ask f instead of Space how much room there is. Tests
// take it, which would go by the disk of whoever runs them.
func (s *Store) WithSpace(f func(dir string) (free, total int64, err error)) {
	s.space = f
	if s.depot != nil {
		s.depot.remote.space = f
	}
}

// Missing returns how many bytes a file system is short of what must be free for the trash to
// stay. It is at most 0 where the trash may stay.
func Missing(free, total int64) int64 { return total/trashReserve - free }

// Space returns how much of a directory's file system is free, and all of it, in bytes. What is
// kept for the administrator does not count as free.
func Space(dir string) (free, total int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("read how much of the disk is free: %w", err)
	}
	return int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize, nil
}
