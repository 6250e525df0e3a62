package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"shoal/internal/atomicfile"
)

// FileRetention is how long an uploaded archive is kept after its last use.
const FileRetention = 30 * 24 * time.Hour

// tempRetention is how long an upload may take before what it left is litter.
const tempRetention = 24 * time.Hour

var hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ValidHash reports whether the text can name an uploaded archive. It is what the
// client computed; nothing compares it with the content (templates.md §1.7).
func ValidHash(hash string) bool { return hashForm.MatchString(hash) }

// ErrNoFiles means that no archive of this hash was uploaded.
var ErrNoFiles = errors.New("the files were not uploaded")

// Files are the archives that clients uploaded for COPY steps, in one directory
// for each scope. A file is complete or absent. Safe for concurrent use, also by
// several processes.
type Files struct {
	dir string
	now func() time.Time
}

// OpenFiles makes the directory if it is missing.
func OpenFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of uploaded files: %w", err)
	}
	return &Files{dir: dir, now: time.Now}, nil
}

// path refuses every name that could leave the directory: both parts arrive in
// URLs.
func (f *Files) path(scope, hash string) (string, error) {
	id, err := uuid.Parse(scope)
	if err != nil {
		return "", fmt.Errorf("scope %q: %w", scope, err)
	}
	if !ValidHash(hash) {
		return "", fmt.Errorf("%q is not a files hash", hash)
	}
	return filepath.Join(f.dir, id.String(), hash+".tar"), nil
}

// Has reports whether an archive is there, and keeps it for another
// FileRetention, so that the build that asked finds it.
func (f *Files) Has(scope, hash string) (bool, error) {
	path, err := f.path(scope, hash)
	if err != nil {
		return false, err
	}
	now := f.now()
	err = os.Chtimes(path, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for uploaded files: %w", err)
	}
	return true, nil
}

// Open returns an archive for reading: tar or tar.gz. ErrNoFiles if it is not
// there.
func (f *Files) Open(scope, hash string) (*os.File, error) {
	path, err := f.path(scope, hash)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", hash, ErrNoFiles)
	}
	if err != nil {
		return nil, fmt.Errorf("open uploaded files: %w", err)
	}
	return file, nil
}

// Put stores an archive when all of it has been read and is on disk. Of several
// puts at once each is whole, and the last to end stays.
func (f *Files) Put(scope, hash string, content io.Reader) (err error) {
	path, err := f.path(scope, hash)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of uploaded files: %w", err)
	}
	file, err := atomicfile.Create(dir)
	if err != nil {
		return fmt.Errorf("store uploaded files: %w", err)
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	if _, err := io.Copy(file, content); err != nil {
		return fmt.Errorf("store uploaded files: %w", err)
	}
	if err := file.Commit(path, 0o600, atomicfile.Durable); err != nil {
		return fmt.Errorf("store uploaded files: %w", err)
	}
	return nil
}

// Sweep removes archives that nobody used for FileRetention, and what crashed
// uploads left.
func (f *Files) Sweep() error {
	return filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return fmt.Errorf("list the uploaded files: %w", err)
		}
		if !e.Type().IsRegular() {
			return nil
		}
		keep := FileRetention
		if strings.HasSuffix(e.Name(), atomicfile.Suffix) {
			keep = tempRetention
		}
		info, err := e.Info()
		if err != nil || f.now().Sub(info.ModTime()) < keep {
			return nil // err: removed meanwhile
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove old uploaded files: %w", err)
		}
		return nil
	})
}
