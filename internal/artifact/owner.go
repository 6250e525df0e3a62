package artifact

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"shoal/internal/atomicfile"
)

// A store is marked with the installation that its artifacts belong to. The mark is a file
// in the directory, and another one in the depot, which two machines may share by mistake.

const (
	ownerFile   = ".installation"
	refusalFile = ".refused"
)

// Owners returns the installations that the store is marked with: none before the first
// SetOwner, and two if the depot is another's than the local directory.
func (s *Store) Owners() ([]string, error) {
	var owners []string
	for _, dir := range s.dirs() {
		data, err := os.ReadFile(filepath.Join(dir, ownerFile))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		owner := strings.TrimSpace(string(data))
		if err == nil && owner == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("read whose the artifacts in %s are: %w", dir, err)
		}
		if !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	return owners, nil
}

// SetOwner durably marks the store. It writes nothing where the mark is right.
func (s *Store) SetOwner(installation string) error {
	for _, dir := range s.dirs() {
		if data, err := os.ReadFile(filepath.Join(dir, ownerFile)); err == nil &&
			strings.TrimSpace(string(data)) == installation {
			continue
		}
		if err := atomicfile.WriteFile(filepath.Join(dir, ownerFile), []byte(installation+"\n"), 0o600,
			atomicfile.Durable); err != nil {
			return fmt.Errorf("mark whose the artifacts in %s are: %w", dir, err)
		}
	}
	return nil
}

// dirs are the directories that artifacts are kept in.
func (s *Store) dirs() []string {
	if s.depot == nil {
		return []string{s.dir}
	}
	return []string{s.dir, s.depot.remote.dir}
}

// NoteRefusal keeps why a collection of garbage was refused, for Look; "" forgets it.
func (s *Store) NoteRefusal(why string) error {
	path := filepath.Join(s.dir, refusalFile)
	if why != "" {
		return atomicfile.WriteFile(path, []byte(why+"\n"), 0o600, atomicfile.Volatile)
	}
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Look returns why the last collection of garbage was refused, "" if it was not, and what
// is in the trash. It only reads, so another process may own the directory, which need not
// exist.
func Look(dir string) (refusal string, trashed []Trashed, err error) {
	data, err := os.ReadFile(filepath.Join(dir, refusalFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", nil, fmt.Errorf("read why garbage was not collected: %w", err)
	}
	trashed, err = (&Store{dir: dir}).trashedLocal()
	return strings.TrimSpace(string(data)), trashed, err
}
