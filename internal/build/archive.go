package build

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Check examines an archive that a step could not use, and forgets it if the archive is at
// fault: it cannot be read, or contains nothing at source ("" means anything). The client
// is then asked to upload it again. Check reports whether the archive is good.
func (f *Files) Check(ctx context.Context, scope, hash, source string) (bool, error) {
	file, err := f.Open(scope, hash)
	if errors.Is(err, ErrNoFiles) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	found, err := holds(heedful{ctx, file}, source)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err == nil && found {
		return true, nil
	}
	return false, f.forget(scope, hash, file)
}

// forget removes an archive, unless it was replaced since it was opened.
func (f *Files) forget(scope, hash string, opened *os.File) error {
	name, err := f.path(scope, hash)
	if err != nil {
		return err
	}
	old, err := opened.Stat()
	if err != nil {
		return fmt.Errorf("forget uploaded files: %w", err)
	}
	now, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(old, now) {
		return nil
	}
	if err := errors.Join(err, os.Remove(name)); err != nil {
		return fmt.Errorf("forget uploaded files: %w", err)
	}
	return nil
}

// holds reads an archive (tar or tar.gz) to its end, and reports whether it contains source
// or anything below it.
func holds(archive io.Reader, source string) (bool, error) {
	r := bufio.NewReader(archive)
	if magic, _ := r.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return false, err
		}
		r = bufio.NewReader(z)
	}
	found := false
	for entries := tar.NewReader(r); ; {
		entry, err := entries.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, r) // the checksum is at the end
			return found, err
		}
		if err != nil {
			return false, err
		}
		name := strings.TrimPrefix(path.Clean("/"+entry.Name), "/")
		found = found || source == "" || name == source || strings.HasPrefix(name, source+"/")
	}
}

// heedful is a reader that stops when its context is done.
type heedful struct {
	ctx context.Context
	io.Reader
}

func (h heedful) Read(p []byte) (int, error) {
	if err := h.ctx.Err(); err != nil {
		return 0, err
	}
	return h.Reader.Read(p)
}
