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

// tempRetention is how long an upload may take; older unfinished files are removed.
const tempRetention = 24 * time.Hour

var hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ValidHash reports whether the text can name an uploaded archive. The client computed the
// hash; it is never compared with the content (templates.md §1.7).
func ValidHash(hash string) bool { return hashForm.MatchString(hash) }

// ErrNoFiles means that no archive with this hash was uploaded.
var ErrNoFiles = errors.New("the files were not uploaded")

// Files holds the archives that clients uploaded for COPY steps, in one directory per
// scope. A file is either complete or absent. It is safe for concurrent use, even by
// several processes.
type Files struct {
	dir string
	now func() time.Time
}

// OpenFiles creates the directory if it does not exist.
func OpenFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of uploaded files: %w", err)
	}
	return &Files{dir: dir, now: time.Now}, nil
}

// path rejects every name that could leave the directory, because both parts come from
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

// Has reports whether an archive exists, and keeps it for another FileRetention, so that
// the build that asked will find it.
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

// Open opens an archive (tar or tar.gz) for reading. It returns ErrNoFiles if there is
// none.
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

// Put stores an archive once all of it has been read and is on the disk. After concurrent
// puts, the archive of the last one to finish stays; it is never a mixture.
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

// Sweep removes archives that were not used for FileRetention, and the leftovers of crashed
// uploads.
func (f *Files) Sweep() error {
	return filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed in the meantime
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
			return nil // err: removed in the meantime
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove old uploaded files: %w", err)
		}
		return nil
	})
}
