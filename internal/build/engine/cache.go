package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"shoal/internal/atomicfile"
	"shoal/internal/shoal"
)

// key identifies the outcome of a phase: a hash of everything that it depends on.
type key string

// next returns the key of a phase that follows this one.
func (k key) next(parts ...string) key {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", k)
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s\n", len(p), p)
	}
	return key(hex.EncodeToString(h.Sum(nil)))
}

// outcome is the result of a phase.
type outcome struct {
	Layers  []string           `json:"layers"`
	Context shoal.BuildContext `json:"context"`
}

// Cache remembers outcomes, separately for each scope, in files that are complete or
// absent. The modification time of an entry is that of its last use.
type Cache struct{ dir string }

// OpenCache creates the directory if it does not exist.
func OpenCache(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of cached layers: %w", err)
	}
	return &Cache{dir: dir}, nil
}

func (c *Cache) path(scope string, k key) (string, error) {
	id, err := uuid.Parse(scope)
	if err != nil {
		return "", fmt.Errorf("scope %q: %w", scope, err)
	}
	return filepath.Join(c.dir, id.String(), string(k)+".json"), nil
}

// get returns an outcome if all its images exist.
func (c *Cache) get(scope string, k key, there func(digest string) bool) (outcome, bool) {
	path, err := c.path(scope, k)
	if err != nil {
		return outcome{}, false
	}
	o, err := readOutcome(path)
	if err != nil {
		return outcome{}, false
	}
	for _, digest := range o.Layers {
		if !there(digest) {
			return outcome{}, false
		}
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // if this fails, the entry only expires earlier
	return o, true
}

func (c *Cache) put(scope string, k key, o outcome) error {
	path, err := c.path(scope, k)
	if err != nil {
		return err
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, data, 0o600, atomicfile.Volatile)
}

func readOutcome(path string) (outcome, error) {
	var o outcome
	data, err := os.ReadFile(path)
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(data, &o)
}

// each calls f with every file of the cache.
func (c *Cache) each(f func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return f(path, info)
	})
}

func (c *Cache) images() ([]string, error) {
	var list []string
	err := c.each(func(path string, _ fs.FileInfo) error {
		if !strings.HasSuffix(path, ".json") {
			return nil
		}
		o, err := readOutcome(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		list = append(list, o.Layers...)
		return err
	})
	return list, err
}

// sweep removes entries that were last used before a time.
func (c *Cache) sweep(since time.Time) error {
	return c.each(func(path string, info fs.FileInfo) error {
		if info.ModTime().Before(since) {
			return os.Remove(path)
		}
		return nil
	})
}

// bound removes the entries that were used least recently, until the images of the others
// take at most limit bytes. A limit of 0 means no limit.
func (c *Cache) bound(limit int64, size func(digest string) int64) error {
	if limit == 0 {
		return nil
	}
	type entry struct {
		path string
		used time.Time
	}
	var entries []entry
	err := c.each(func(path string, info fs.FileInfo) error {
		entries = append(entries, entry{path, info.ModTime()})
		return nil
	})
	slices.SortFunc(entries, func(a, b entry) int { return b.used.Compare(a.used) })
	var total int64
	counted := map[string]bool{}
	for _, e := range entries {
		o, readErr := readOutcome(e.path)
		if readErr != nil {
			continue // it is being written, or was removed
		}
		for _, digest := range o.Layers {
			if !counted[digest] {
				counted[digest] = true
				total += size(digest)
			}
		}
		if total > limit {
			err = errors.Join(err, os.Remove(e.path))
		}
	}
	return err
}
