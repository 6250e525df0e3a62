package block

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Way is how a machine gives disks to microVMs.
type Way string

// The ways, the best first.
const (
	// WayServed is an overlay that is served over NBD.
	WayServed Way = "nbd"
	// WayShared is a file of its own that shares the room of the base, as XFS and Btrfs can.
	WayShared Way = "clone"
	// WayCopied is a whole copy of the base, which takes its time and its room.
	WayCopied Way = "copy"
)

// Choose returns the best way for disks that lie in a directory, with why the better ones are not.
func Choose(k *Kernel, dir string) (Way, error) {
	without := k.Check()
	if without == nil {
		return WayServed, nil
	}
	shares, err := sharesRoom(dir)
	if err != nil {
		return "", err
	}
	if shares {
		return WayShared, without
	}
	return WayCopied, &UnavailableError{
		Cause: "disks of microVMs are whole copies here: " + without.Error(),
		Fix:   "or keep them on a file system that shares room between files, such as XFS or Btrfs",
	}
}

// sharesRoom tries whether files in a directory can share room.
func sharesRoom(dir string) (bool, error) {
	from, err := os.CreateTemp(dir, ".share-")
	if err != nil {
		return false, fmt.Errorf("try what the file system of disks can: %w", err)
	}
	defer os.Remove(from.Name())
	defer from.Close()
	to, err := os.CreateTemp(dir, ".share-")
	if err != nil {
		return false, fmt.Errorf("try what the file system of disks can: %w", err)
	}
	defer os.Remove(to.Name())
	defer to.Close()
	if _, err := from.Write(make([]byte, Size)); err != nil {
		return false, fmt.Errorf("try what the file system of disks can: %w", err)
	}
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil, nil
}

// Copy is a disk that is a file, for machines without NBD: a microVM has its path. What is captured of it
// is a layer as any other, so that a machine with NBD can go on from there, and the other way round.
type Copy struct {
	file *os.File
	size int64
}

// CreateCopy makes a file with what lies below, and tells how: WayShared or WayCopied.
func CreateCopy(ctx context.Context, o Options) (*Copy, Way, error) {
	if o.Size <= 0 || o.Size > MaxDisk || o.Size%Size != 0 || o.Size < o.Below.Size() {
		return nil, "", fmt.Errorf("a disk has a multiple of %d bytes, and at least those of its base, not %d", Size, o.Size)
	}
	f, err := os.OpenFile(o.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("make a copy of a disk: %w", err)
	}
	way := WayCopied
	base, isBase := o.Below.(*Base)
	switch {
	case isBase && unix.IoctlFileClone(int(f.Fd()), int(base.file.Fd())) == nil:
		way = WayShared
		err = f.Truncate(o.Size)
	default:
		if err = f.Truncate(o.Size); err == nil {
			err = copyBlocks(ctx, f, o.Below)
		}
	}
	if err != nil {
		f.Close()
		os.Remove(o.Path)
		return nil, "", fmt.Errorf("make a copy of a disk: %w", err)
	}
	return &Copy{file: f, size: o.Size}, way, nil
}

// OpenCopy opens what CreateCopy made.
func OpenCopy(path string) (*Copy, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open a copy of a disk: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size()%Size != 0 {
		err = &DamageError{File: path, Block: -1, What: "it is not as long as it was"}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open a copy of a disk: %w", err)
	}
	return &Copy{file: f, size: info.Size()}, nil
}

// copyBlocks writes all that is not zeros.
func copyBlocks(ctx context.Context, to *os.File, below Backing) error {
	p := make([]byte, pieceSize)
	return pieces(0, below.Size(), func(off, length int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if below.Zeros(off, length) {
			return nil
		}
		if base, is := below.(*Base); is && copyRange(to, base.file, off, length) {
			return nil
		}
		if _, err := below.ReadAt(p[:length], off); err != nil {
			return err
		}
		for at := int64(0); at < length; at += Size {
			block := p[at:min(at+Size, length)]
			if isZero(block) {
				continue
			}
			if _, err := to.WriteAt(block, off+at); err != nil {
				return err
			}
		}
		return nil
	})
}

// copyRange has the kernel copy; it tells whether that was possible.
func copyRange(to, from *os.File, off, length int64) bool {
	in, out := off, off
	for in < off+length {
		n, err := unix.CopyFileRange(int(from.Fd()), &in, int(to.Fd()), &out, int(off+length-in), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
	}
	return true
}

// Path is what a microVM opens.
func (c *Copy) Path() string { return c.file.Name() }

// Capture writes a layer to an empty file: the blocks that differ from what it is to stand on, which is
// the disk's base or an earlier capture of it. Both are read for that. Nothing may write to the disk
// meanwhile.
func (c *Copy) Capture(ctx context.Context, to *os.File, on Backing) (Captured, error) {
	w := layerWriter{to: osFile{to}, head: header{flags: flagSealed, size: c.size, epoch: 1, id: newID(), below: on.Name()}}
	if err := w.begin(); err != nil {
		return Captured{}, err
	}
	have, below := make([]byte, pieceSize), make([]byte, pieceSize)
	file := osFile{c.file}
	err := pieces(0, c.size, func(off, length int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := file.ReadAt(have[:length], off); err != nil {
			return fmt.Errorf("read a copy of a disk: %w", err)
		}
		if _, err := on.ReadAt(below[:length], off); err != nil {
			return err
		}
		for at := int64(0); at < length; at += Size {
			block := have[at : at+Size]
			if string(block) == string(below[at:at+Size]) {
				continue
			}
			if err := w.put(block, (off+at)/Size); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Captured{}, err
	}
	w.result.Mark.Layer = hex.EncodeToString(w.head.id[:])
	return w.result, w.seal()
}

// Close ends the use of the file.
func (c *Copy) Close() error { return c.file.Close() }
