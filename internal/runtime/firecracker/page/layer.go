package page

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// layer is an open layer. Its pages are read with their checksums.
type layer struct {
	header
	path string
	file *os.File
	x    *index
	// waits means that a read of this file cannot be asked not to wait for a disk.
	waits atomic.Bool
	// memory means that the file lies in memory, so that no read waits.
	memory bool
}

// openLayer opens a layer and checks its footer and index; the pages are checked as they are
// read. Errors are ErrSnapshotMissing and ErrSnapshotDamaged, or the disk's.
func openLayer(path string) (_ *layer, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(err)
	}
	if !info.Mode().IsRegular() {
		return nil, damaged(path, "it is no file")
	}
	footer := make([]byte, min(footerSize, info.Size()))
	if _, err := f.ReadAt(footer, info.Size()-int64(len(footer))); err != nil {
		return nil, unreadable(err)
	}
	h, err := decodeFooter(footer, info.Size())
	if err != nil {
		return nil, damaged(path, "%v", err)
	}
	b := make([]byte, h.length)
	if _, err := f.ReadAt(b, int64(h.index)); err != nil {
		return nil, unreadable(err)
	}
	x, err := decodeIndex(b, h)
	if err != nil {
		return nil, damaged(path, "%v", err)
	}
	l := &layer{header: h, path: path, file: f, x: x}
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) == nil {
		l.memory = fs.Type == unix.TMPFS_MAGIC
	}
	return l, nil
}

// errWait means that pages are not in the host's page cache.
var errWait = errors.New("the pages must be read from the disk")

// read reads pages of the file into p, whose length is a multiple of Size, and compares their
// checksums with those from sum on. If it may not wait for the disk it may read fewer pages
// than asked for, but one at least, or it is errWait.
func (l *layer) read(p []byte, at, sum uint32, mayWait bool) (pages uint32, err error) {
	n, err := l.pread(p, int64(at)*Size, mayWait)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return 0, damaged(l.path, "it was cut short after it was opened")
	case err != nil:
		return 0, err
	}
	for ; n >= Size; n -= Size {
		if got := checksum(p[:Size]); got != l.x.sums[sum+pages] {
			return 0, damaged(l.path, "page %d of the file does not have its checksum", at+pages)
		}
		p, pages = p[Size:], pages+1
	}
	return pages, nil
}

// pread reads all of p, or some whole pages of it if it may not wait.
func (l *layer) pread(p []byte, offset int64, mayWait bool) (int, error) {
	if mayWait || l.memory {
		n, err := l.file.ReadAt(p, offset)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			err = unreadable(err)
		}
		return n, err
	}
	if l.waits.Load() {
		return 0, errWait
	}
	for {
		n, err := unix.Preadv2(int(l.file.Fd()), [][]byte{p}, offset, unix.RWF_NOWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP):
			l.waits.Store(true)
			return 0, errWait
		case err == nil && n == 0:
			return 0, io.ErrUnexpectedEOF
		case errors.Is(err, unix.EAGAIN) || err == nil && n < Size:
			return 0, errWait
		case err != nil:
			return 0, unreadable(fmt.Errorf("read %s: %w", l.path, err))
		}
		return n - n%Size, nil
	}
}

// readAhead has the disk begin to read pages of the file.
func (l *layer) readAhead(at, count uint32) {
	if !l.memory { // best effort: the pages are only read later without it
		_ = unix.Fadvise(int(l.file.Fd()), int64(at)*Size, int64(count)*Size, unix.FADV_WILLNEED)
	}
}

// verify reads every page of the layer.
func (l *layer) verify(ctx context.Context) error {
	buf := make([]byte, chunk*Size)
	sum := uint32(0)
	for _, r := range l.x.runs {
		if r.at == zeroRun {
			continue
		}
		for done := uint32(0); done < r.count; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(r.count-done, chunk)
			if _, err := l.read(buf[:n*Size], r.at+done, sum, true); err != nil {
				return err
			}
			done, sum = done+n, sum+n
		}
	}
	return nil
}

// chunk is how many pages are read or written at once where nobody waits for the first.
const chunk = 256
