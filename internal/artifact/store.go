// Package artifact keeps the bytes of snapshots on the local disk, by name. An artifact is
// a directory that is either whole or absent: it is written as a draft, synced, described
// by a manifest with a checksum of each file, and then gets its name in one step. A loose
// artifact (loose.go) gets its name before it is synced.
package artifact

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"shoal/internal/atomicfile"
)

// ErrMissing means that there is no artifact with that name.
var ErrMissing = errors.New("artifact is missing")

// CorruptError means that an artifact's files differ from what was stored.
type CorruptError struct {
	ID     string
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("artifact %s is damaged: %s", e.ID, e.Reason)
}

const (
	manifestFile = "manifest.json"
	draftPrefix  = ".draft-"
	erasePrefix  = ".erase-"
	// oldErasePrefix is what earlier versions call erasePrefix.
	oldErasePrefix = ".trash-"
)

// Manifest describes an artifact. It is written last.
type Manifest struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"createdAt"`
	Files     []File    `json:"files"`
	// Boot is the boot of the machine in which a loose artifact was written; "" if it is
	// sealed.
	Boot string `json:"boot,omitempty"`
	// Meta belongs to the caller.
	Meta json.RawMessage `json:"meta"`
}

// File is one file of an artifact.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`             // its length, in bytes
	Stored int64  `json:"stored,omitempty"` // of these, in no hole; 0 where nobody had looked when it was written
	CRC32C uint32 `json:"crc32c"`           // Castagnoli
}

// same tells whether two files have the same content under the same name, wherever their holes are.
func (f File) same(other File) bool {
	f.Stored = other.Stored
	return f == other
}

// Readable is false for an artifact of which List knows only the name and about when it was
// made.
func (m Manifest) Readable() bool { return len(m.Meta) > 0 }

// Size is how much room the files take, in bytes: holes take none.
func (m Manifest) Size() (sum int64) {
	for _, f := range m.Files {
		if f.Stored == 0 {
			f.Stored = f.Size
		}
		sum += f.Stored
	}
	return sum
}

// Store is a directory of artifacts. It is safe for concurrent use; one process
// at a time may own the directory.
type Store struct {
	dir   string
	depot *Depot // nil if the directory is no cache
	// space is how much of a directory's file system is free, and all of it, in bytes.
	space func(dir string) (free, total int64, err error)
}

// Open creates the directory if needed and removes what an interrupted process left
// unfinished.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the artifacts' directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the artifacts' directory: %w", err)
	}
	for _, e := range entries {
		if !isUnfinished(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("remove an unfinished artifact: %w", err)
		}
	}
	return &Store{dir: dir, space: Space}, nil
}

// isUnfinished tells by a name that what has it was being written, or removed.
func isUnfinished(name string) bool {
	return strings.HasPrefix(name, draftPrefix) || strings.HasPrefix(name, erasePrefix) ||
		strings.HasPrefix(name, oldErasePrefix) || strings.HasSuffix(name, atomicfile.Suffix)
}

// idForm keeps names inside the directory and apart from drafts.
var idForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}$`)

func (s *Store) path(id string) (string, error) {
	if !idForm.MatchString(id) {
		return "", fmt.Errorf("%q is no artifact name", id)
	}
	return filepath.Join(s.dir, id), nil
}

// Artifact is a complete artifact.
type Artifact struct {
	Manifest
	// Dir holds the files. They must not be changed.
	Dir string
}

// Get finds an artifact, or returns ErrMissing. It checks that the files exist with the
// right sizes; Verify reads them. It brings an artifact back that is in the trash. With a
// depot, it fetches an artifact that is missing or damaged here.
func (s *Store) Get(id string) (*Artifact, error) {
	a, err := s.getLocal(id)
	if errors.Is(err, ErrMissing) {
		if a, err = s.getTrashed(id); err == nil && s.depot != nil {
			s.depot.note(id) // it was not copied when it went
		}
	}
	if s.depot != nil && err != nil && !s.depot.isPending(id) {
		a, err = s.fetch(id)
	}
	if err == nil {
		s.touch(a.Dir)
	}
	return a, err
}

// getTrashed is getLocal for what is in the local trash, or was a moment ago.
func (s *Store) getTrashed(id string) (*Artifact, error) {
	if _, err := s.bringBackLocal(id); err != nil {
		return nil, err
	}
	return s.getLocal(id)
}

func (s *Store) getLocal(id string) (*Artifact, error) {
	path, err := s.path(id)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(path, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrMissing, id)
	} else if err != nil {
		return nil, fmt.Errorf("read artifact %s: %w", id, err)
	}
	a := &Artifact{Dir: path}
	if err := json.Unmarshal(data, &a.Manifest); err != nil {
		return nil, &CorruptError{ID: id, Reason: "its manifest cannot be read"}
	}
	for _, f := range a.Files {
		info, err := os.Stat(filepath.Join(path, f.Name))
		if err != nil || info.Size() != f.Size {
			return nil, &CorruptError{ID: id, Reason: f.Name + " is missing or has another size"}
		}
	}
	return a, nil
}

// ListAll is List plus the artifacts that are only in the depot or cannot be read here.
func (s *Store) ListAll() ([]Manifest, error) {
	list, err := s.List()
	if err != nil || s.depot == nil {
		return list, err
	}
	there, err := s.depot.remote.List()
	for _, m := range there {
		at := slices.IndexFunc(list, func(have Manifest) bool { return have.ID == m.ID })
		switch {
		case at < 0:
			list = append(list, m)
		case !list[at].Readable():
			list[at] = m
		}
	}
	return list, err
}

// List returns the manifests of all artifacts in the local directory, sorted by name.
func (s *Store) List() ([]Manifest, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read the artifacts' directory: %w", err)
	}
	var list []Manifest
	for _, e := range entries {
		if !idForm.MatchString(e.Name()) {
			continue
		}
		m := readManifest(filepath.Join(s.dir, e.Name()), e)
		m.ID = e.Name()
		list = append(list, m)
	}
	return list, nil
}

// readManifest reads the manifest in an artifact's directory. If it cannot be read, only about
// when the artifact was made is known, which is enough to remove it.
func readManifest(dir string, e os.DirEntry) (m Manifest) {
	if data, err := os.ReadFile(filepath.Join(dir, manifestFile)); err == nil {
		if json.Unmarshal(data, &m) != nil {
			m = Manifest{}
		}
	}
	if m.CreatedAt.IsZero() { // the directory got its last file then
		if info, err := e.Info(); err == nil {
			m.CreatedAt = info.ModTime()
		}
	}
	return m
}

// Remove deletes an artifact, here, in the depot and in the trash; it is no error if there
// is none. The artifact is gone as soon as its name is.
func (s *Store) Remove(id string) error {
	_, err := s.destroy(func(t trashName, _ Gone) bool { return t.id == id })
	err = errors.Join(err, s.removeLocal(id))
	if s.depot != nil {
		s.depot.settle(id)
		err = errors.Join(err, s.depot.remote.Remove(id))
	}
	return err
}

func (s *Store) removeLocal(id string) error {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	if err := s.erase(path); err != nil {
		return fmt.Errorf("remove artifact %s: %w", id, err)
	}
	return nil
}

// erase deletes a directory, which loses its name first, so that nobody finds a part of it.
// Neither step needs room on the disk.
func (s *Store) erase(path string) error {
	gone := filepath.Join(s.dir, erasePrefix+rand.Text())
	if err := os.Rename(path, gone); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.RemoveAll(gone)
}
