package page

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
	"shoal/internal/sparse"
)

// Dump is a memory file that Firecracker wrote, and what is known of it.
type Dump struct {
	// File is its path.
	File string
	// Parent is the directory of the snapshot that the file tells the difference to: the one
	// that the guest was restored from, or the last one that was taken of it since. Empty if
	// the file has all of the memory, as that of a full snapshot has, and that of the first
	// diff snapshot of a guest that was booted. Holes are zeros then.
	Parent string
	// Removed is what Server.Removed said while the guest was paused for this snapshot. The
	// guest has zeros there, which the file does not tell. It is nil without a Parent, or if
	// no server ran.
	Removed *Set
	// Backing is the size of the pages that the guest's memory had, in bytes: Size or HugeSize.
	// 0 is Size.
	Backing int
	// Move has the file become the layer where it lies, without its pages being copied, if it is
	// on the file system of the directory. It is gone from its path then, and the layer is as long
	// as the guest's memory, with holes. Else the file stays as it is, and the layer has only pages
	// that are not zero.
	Move bool
	// Durability is what a power cut may do. Volatile is for a directory that somebody else
	// brings to the disk before it counts.
	Durability atomicfile.Durability
}

// Kept tells what Keep did.
type Kept struct {
	Changed int // pages that the file told of
	Zero    int // of those, how many were zero, which take no room
	Given   int // pages that were zero because the guest had given them back
	Layers  int // what the chain consists of now
	Merged  bool
}

// Keep makes a dump, with what it stands on, the memory in a directory, which is empty or the
// parent's. Until it is done, the directory has no memory or its old one; after an error its
// caller removes it, or calls Sweep if it was the parent's.
//
// After an error the dump is lost for the guest, which counts its pages as unchanged from then
// on: its next snapshot must be a full one.
func Keep(ctx context.Context, dir string, d Dump) (kept Kept, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep a guest's memory: %w", err)
		}
	}()
	if d.Move {
		if d.Move, err = sameFileSystem(d.File, dir); err != nil {
			return kept, err
		}
	}
	h := header{id: newLayerID(), backing: Size}
	if d.Backing != 0 {
		h.backing = uint32(d.Backing)
	}
	var below *Memory
	var ids []LayerID
	if d.Parent != "" {
		if below, err = Open(d.Parent); err != nil {
			return kept, err
		}
		defer below.Close()
		for _, l := range below.layers {
			ids = append(ids, l.id)
		}
		h.parent, h.depth = ids[len(ids)-1], uint32(len(ids))
	}
	if err := writeDump(ctx, dir, d, h, below, &kept); err != nil {
		return kept, err
	}
	for _, id := range ids {
		if err := link(layerPath(d.Parent, id), layerPath(dir, id), d.Durability); err != nil {
			return kept, err
		}
	}
	ids = append(ids, h.id)
	if len(ids) > MaxLayers {
		kept.Merged = true
		if ids, err = merge(ctx, dir, ids, d.Durability); err != nil {
			return kept, err
		}
	}
	kept.Layers = len(ids)
	if d.Durability == atomicfile.Durable { // the names of the layers, before memory.json tells of them
		if err := atomicfile.SyncDir(dir); err != nil {
			return kept, err
		}
	}
	if err := writeChain(dir, ids, d.Durability); err != nil {
		return kept, err
	}
	return kept, Sweep(dir)
}

func sameFileSystem(a, b string) (bool, error) {
	var of [2]unix.Stat_t
	for i, path := range []string{a, b} {
		if err := unix.Stat(path, &of[i]); err != nil {
			return false, &os.PathError{Op: "stat", Path: path, Err: err}
		}
	}
	return of[0].Dev == of[1].Dev, nil
}

// Sweep removes what lies in a directory of a memory and is not part of it: what a Keep that
// did not end has left, and layers that were merged.
func Sweep(dir string) error {
	ids, err := readChain(dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the layers of a memory: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		unused := filepath.Ext(name) == layerSuffix &&
			!slices.ContainsFunc(ids, func(id LayerID) bool { return name == id.String()+layerSuffix })
		if unused || filepath.Ext(name) == atomicfile.Suffix {
			err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
	}
	return err
}

// writeDump makes a dump the layer that h describes.
func writeDump(ctx context.Context, dir string, d Dump, h header, below *Memory, kept *Kept) error {
	flag := os.O_RDONLY
	if d.Move {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(d.File, flag, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size == 0 || size%Size != 0 || size/Size > maxPages {
		return fmt.Errorf("%s has %d bytes, which is no guest's memory", d.File, size)
	}
	h.pages = uint64(size / Size)
	if below != nil && h.pages != below.layers[0].pages {
		return fmt.Errorf("%s has %d pages, and the memory that it stands on has %d", d.File, h.pages, below.pages)
	}
	if err := probeHoles(filepath.Dir(d.File)); err != nil {
		return err
	}
	changes := &changes{removed: d.Removed, based: below != nil, kept: kept}
	if d.Move {
		err := moveDump(ctx, f, dir, d, h, changes)
		if err != nil { // it is still Firecracker's file, for who wants to look at it
			_ = f.Truncate(size)
		}
		return err
	}
	w, err := newLayerWriter(dir)
	if err != nil {
		return err
	}
	defer w.discard()
	changes.keep = func(page uint32, data []byte) (uint32, error) {
		return w.write(f, page, data)
	}
	if err := changes.read(ctx, f, uint32(h.pages)); err != nil {
		return err
	}
	return w.finish(dir, h, &changes.x, d.Durability)
}

// moveDump makes the file of a dump a layer where it lies.
func moveDump(ctx context.Context, f *os.File, dir string, d Dump, h header, c *changes) error {
	c.keep = func(page uint32, data []byte) (uint32, error) { return page, nil }
	if err := c.read(ctx, f, uint32(h.pages)); err != nil {
		return err
	}
	for _, r := range c.x.runs {
		if r.at == zeroRun && r.count >= minHole {
			// Best effort: what stays takes room, and is not read.
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
				int64(r.first)*Size, int64(r.count)*Size)
		}
	}
	if err := appendIndex(f, int64(h.pages), h, &c.x); err != nil {
		return err
	}
	// A jailed Firecracker may have been its owner.
	if err := errors.Join(f.Chown(os.Geteuid(), os.Getegid()), f.Chmod(0o600)); err != nil {
		return err
	}
	if d.Durability == atomicfile.Durable {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return atomicfile.Rename(d.File, layerPath(dir, h.id), d.Durability)
}

// minHole is how many zero pages are worth a hole in the file.
const minHole = 16

// link gives a layer of the parent a name in another directory. Where the file system cannot,
// it is copied.
func link(from, to string, d atomicfile.Durability) error {
	if from == to {
		return nil
	}
	err := os.Link(from, to)
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) ||
		errors.Is(err, unix.EOPNOTSUPP) {
		err = copyLayer(from, to, d)
	}
	return err
}

// copyLayer copies a layer, with its holes.
func copyLayer(from, to string, d atomicfile.Durability) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := atomicfile.Create(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Discard()) }()
	if err := sparse.Copy(context.Background(), out.File, in); err != nil {
		return err
	}
	return out.Commit(to, 0o600, d)
}
