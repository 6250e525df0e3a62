package firecracker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/image"
	"shoal/internal/runtime"
)

// The ends of the names of bases, and of first root file systems, which lie beside them.
const (
	baseSuffix   = ".ext4"
	initrdSuffix = ".initrd"
)

// bases are the file systems that disks begin with: one for each root and amount of room, made when
// a guest first needs it. Images are named by their content, so a base never changes.
type bases struct {
	dir    string
	mu     sync.Mutex
	making map[string]*sync.Mutex // by name; held while a base is made
}

// baseName names the base of a root with room for so many MiB.
func baseName(root runtime.Root, roomMB int64) string {
	sum := sha256.New()
	fmt.Fprintln(sum, image.Ext4Format, roomMB)
	for _, path := range root.Images() {
		fmt.Fprintln(sum, filepath.Base(path))
	}
	return fmt.Sprintf("%x-%d", sum.Sum(nil)[:16], roomMB)
}

// roomOf is the room that a base was made with, by its name.
func roomOf(name string) (roomMB int64, ok bool) {
	n, err := fmt.Sscanf(name[strings.LastIndex(name, "-")+1:], "%d", &roomMB)
	return roomMB, n == 1 && err == nil && roomMB > 0
}

// get returns the path of a base, which is made if it is not there.
func (b *bases) get(root runtime.Root, roomMB int64) (name, path string, err error) {
	name = baseName(root, roomMB)
	path = filepath.Join(b.dir, name+baseSuffix)
	own := b.lock(name)
	own.Lock()
	defer own.Unlock()
	now := time.Now()
	if err := os.Chtimes(path, now, now); err == nil { // a collection sees that it is in use
		return name, path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	if err := b.create(path, root, roomMB); err != nil {
		return "", "", fmt.Errorf("make the disk of the images: %w", err)
	}
	return name, path, nil
}

func (b *bases) lock(name string) *sync.Mutex {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.making == nil {
		b.making = map[string]*sync.Mutex{}
	}
	if b.making[name] == nil {
		b.making[name] = &sync.Mutex{}
	}
	return b.making[name]
}

// remove removes the bases that nobody needs, and the first root file systems of other programs, unless they
// were used after a time.
func (b *bases) remove(needed func(name string) bool, before time.Time) (removed int, bytes int64, err error) {
	for _, suffix := range []string{baseSuffix, initrdSuffix} {
		paths, globErr := filepath.Glob(filepath.Join(b.dir, "*"+suffix))
		err = errors.Join(err, globErr)
		for _, path := range paths {
			name := strings.TrimSuffix(filepath.Base(path), suffix)
			if needed(name) {
				continue
			}
			size, removeErr := b.removeUnused(name, path, before)
			if size >= 0 && removeErr == nil {
				removed++
				bytes += size
			}
			err = errors.Join(err, removeErr)
		}
	}
	return removed, bytes, err
}

// removeUnused returns the size of what it has removed, or -1 if it was used after a time.
func (b *bases) removeUnused(name, path string, before time.Time) (bytes int64, err error) {
	own := b.lock(name)
	own.Lock()
	defer own.Unlock()
	info, err := os.Stat(path)
	if err != nil || !info.ModTime().Before(before) {
		return -1, err
	}
	return allocated(path), os.Remove(path)
}

// removeUnfinished removes what a process that was killed had begun to make. Nobody else makes any now.
func (b *bases) removeUnfinished() error {
	left, err := filepath.Glob(filepath.Join(b.dir, ".*"+atomicfile.Suffix))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func (b *bases) create(path string, root runtime.Root, roomMB int64) (err error) {
	tree, err := image.FromImages(root.Images()...)
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(b.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Discard()) }()
	if _, err := image.WriteExt4(f.File, tree, roomMB<<20); err != nil {
		return err
	}
	return f.Commit(path, 0o600, atomicfile.Durable)
}
