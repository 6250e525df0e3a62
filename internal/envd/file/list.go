package file

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"shoal/internal/envd/account"
)

// ErrCycle says that links lead in a circle.
var ErrCycle = errors.New("symbolic links form a cycle")

// manyEntries is from how many entries on they are described by all processors at once: nearly
// all of the time is the guest kernel's, in two system calls for each.
const manyEntries = 1000

// List describes what is below a directory, depth levels deep, each directory before its
// content and names in lexical order. The directory itself may be a link, but links below
// it are not followed. Entries that vanish meanwhile are left out.
func List(dir string, depth uint32, names *account.Database) ([]Entry, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, syscall.ELOOP) {
		return nil, ErrCycle
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, ErrNotDirectory
	}
	return appendDir(nil, dir, max(depth, 1), names.Names())
}

func appendDir(entries []Entry, dir string, depth uint32, names account.Names) ([]Entry, error) {
	children, err := os.ReadDir(dir)
	if err != nil {
		return entries, err
	}
	found, err := describeAll(dir, children, names)
	if err != nil || depth <= 1 {
		return append(entries, found...), err
	}
	for _, e := range found {
		entries = append(entries, e)
		if e.Type != Directory || e.Target != "" { // links are not followed
			continue
		}
		entries, err = appendDir(entries, e.Path, depth-1, names)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return entries, err
		}
	}
	return entries, nil
}

// describeAll describes the entries of a directory that are still there.
func describeAll(dir string, children []os.DirEntry, names account.Names) ([]Entry, error) {
	if len(children) < manyEntries {
		return describeEach(dir, children, names)
	}
	parts := slices.Collect(slices.Chunk(children, (len(children)-1)/runtime.GOMAXPROCS(0)+1))
	found := make([][]Entry, len(parts))
	var g errgroup.Group
	for i, part := range parts {
		g.Go(func() (err error) {
			found[i], err = describeEach(dir, part, names)
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(found...), err
}

func describeEach(dir string, children []os.DirEntry, names account.Names) ([]Entry, error) {
	entries := make([]Entry, 0, len(children))
	for _, child := range children {
		info, err := child.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return entries, err
		}
		entries = append(entries, describe(filepath.Join(dir, child.Name()), info, names))
	}
	return entries, nil
}
