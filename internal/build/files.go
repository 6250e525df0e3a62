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
	"sync"
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

	mu sync.Mutex // guards the rest; nothing is locked while it is held
	// kept is what each scope's files take in bytes, those under way included, of scopes that
	// were asked for since the last sweep. Other processes' changes show after a sweep.
	kept map[string]int64
}

// OpenFiles creates the directory if it does not exist.
func OpenFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of uploaded files: %w", err)
	}
	return &Files{dir: dir, now: time.Now, kept: map[string]int64{}}, nil
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
	counted := &countedReader{from: content, count: func(n int64) { f.count(scope, n) }}
	defer func() {
		err = errors.Join(err, file.Discard())
		if err != nil {
			f.count(scope, -counted.n)
		}
	}()
	if _, err := io.Copy(file, counted); err != nil {
		return fmt.Errorf("store uploaded files: %w", err)
	}
	var replaced int64
	if info, err := os.Stat(path); err == nil {
		replaced = info.Size()
	}
	if err := file.Commit(path, 0o600, atomicfile.Durable); err != nil {
		return fmt.Errorf("store uploaded files: %w", err)
	}
	f.count(scope, -replaced)
	return nil
}

// countedReader reports the bytes that are read from it as they come.
type countedReader struct {
	from  io.Reader
	count func(int64)
	n     int64
}

// Read reads the next bytes.
func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += int64(n)
	r.count(int64(n))
	return n, err
}

// count changes what a scope's files take, if that is known.
func (f *Files) count(scope string, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.kept[scope]; known {
		f.kept[scope] += bytes
	}
}

// Kept returns what a scope's archives take in bytes, those that are being uploaded included.
// It reads the scope's directory once between two sweeps.
func (f *Files) Kept(scope string) (int64, error) {
	f.mu.Lock()
	bytes, known := f.kept[scope]
	f.mu.Unlock()
	if known {
		return bytes, nil
	}
	id, err := uuid.Parse(scope)
	if err != nil {
		return 0, fmt.Errorf("scope %q: %w", scope, err)
	}
	bytes, err = sizeOf(filepath.Join(f.dir, id.String()))
	if err != nil {
		return 0, fmt.Errorf("add up uploaded files: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.kept[scope]; !known {
		f.kept[scope] = bytes
	}
	return f.kept[scope], nil
}

// sizeOf is the sum of the sizes of a directory's files; 0 if there is no such directory.
func sizeOf(dir string) (bytes int64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // otherwise it was removed in the meantime
			bytes += info.Size()
		}
	}
	return bytes, err
}

// Sweep removes archives that were not used for FileRetention, and the leftovers of crashed
// uploads.
func (f *Files) Sweep() error {
	defer f.recount()
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

// recount forgets what the files take, so that it is looked up anew.
func (f *Files) recount() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.kept)
}
