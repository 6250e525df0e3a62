package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"shoal/internal/envd/account"
)

// ErrIsDirectory says that a directory is where a file was to be written or read.
var ErrIsDirectory = errors.New("is a directory")

// ErrNotRegular says that what should be written is a fifo, a socket or a device. Writing
// there could wait forever, and would change the owner of what the system needs.
var ErrNotRegular = errors.New("is not a regular file")

// copyBuffers hold one write each. Writes are large, because system calls are expensive in
// a guest and each write is an event for watchers.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

// Writer stores content for users. Made runs after it created a directory, so
// that recursive watchers can look into it before a file appears there.
type Writer struct {
	Made func()
}

// Write stores the content under the path for the user, as root, in place and
// in a stream (envd.md §1.7): missing ancestors are made, an existing file
// changes its owner but keeps its mode, links are followed. The order of steps
// makes the events CREATE, CHMOD, WRITE. What was written before a failure stays.
func (w Writer) Write(path string, u account.User, content io.Reader, metadata map[string]string) error {
	if err := w.parents(path, u); err != nil {
		return err
	}
	f, err := open(path, u)
	if err != nil {
		return err
	}
	err = Copy(f, content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return ReplaceMetadata(path, metadata)
}

func (w Writer) parents(path string, u account.User) error {
	made, err := MakeAll(filepath.Dir(path), u)
	if made && w.Made != nil {
		w.Made()
	}
	if err != nil {
		return fmt.Errorf("create the directory of %s: %w", path, err)
	}
	return nil
}

func open(path string, u account.User) (*os.File, error) {
	info, err := os.Stat(path)
	exists := err == nil
	switch {
	case exists && info.IsDir():
		return nil, fmt.Errorf("%s: %w", path, ErrIsDirectory)
	case exists && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: %w", path, ErrNotRegular)
	case exists:
		err = give(path, u)
	case errors.Is(err, os.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, err
	}
	// Without O_NONBLOCK it would wait for the reader of a fifo that was made just now.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NONBLOCK, 0o666)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := f.Chown(int(u.UID), int(u.GID)); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return f, nil
}

// give makes the user the owner of an existing file. The kernel's own files
// under /proc and /sys refuse that even to root, and may still be written.
func give(path string, u account.User) error {
	err := os.Chown(path, int(u.UID), int(u.GID))
	if errors.Is(err, syscall.EPERM) && os.Geteuid() == 0 {
		return nil
	}
	return err
}

// Copy writes the whole of the content in as few writes as its size allows.
func Copy(to io.Writer, content io.Reader) error {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, readErr := fill(content, *buf)
		if n > 0 {
			if _, err := to.Write((*buf)[:n]); err != nil {
				return err
			}
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// fill reads until the buffer is full or the reader fails. It returns the reader's own
// error, so that a truncated body is not taken for a complete one.
func fill(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
