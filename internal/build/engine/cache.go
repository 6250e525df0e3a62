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

// key names the outcome of a phase: everything that it depends on.
type key string

// next is the key of a phase after this one.
func (k key) next(parts ...string) key {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", k)
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s\n", len(p), p)
	}
	return key(hex.EncodeToString(h.Sum(nil)))
}

// outcome is what a phase leaves behind.
type outcome struct {
	Layers  []string           `json:"layers"`
	Context shoal.BuildContext `json:"context"`
}

// Cache remembers outcomes, for each scope by itself, in files that are complete or
// absent. An entry's modification time is that of its last use.
type Cache struct{ dir string }

// OpenCache makes the directory if it is missing.
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

// get returns an outcome whose images are all there.
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
	_ = os.Chtimes(path, now, now) // a lost use only shortens its life
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

// sweep removes what was not used since a time.
func (c *Cache) sweep(since time.Time) error {
	return c.each(func(path string, info fs.FileInfo) error {
		if info.ModTime().Before(since) {
			return os.Remove(path)
		}
		return nil
	})
}

// bound removes the entries that were not used for longest, until the images of the
// others, of the sizes given, are within a limit in bytes. No limit is 0.
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
			continue // it is being written, or gone
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
