// Package program keeps the programs that microVMs need: builds of Firecracker with their
// jailers, and guest kernels. They come from elsewhere: an operator imports them, they are
// checked before anything runs with them, and several versions lie side by side, because a
// snapshot comes back only with the Firecracker that took it.
package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/shoal"
)

// The files of a program in its directory.
const (
	firecrackerFile = "firecracker"
	jailerFile      = "jailer"
	programRecord   = "program.json"
)

// Program is a build of Firecracker on this machine.
type Program struct {
	// Name is what it is known by, such as v1.16.1: the version, and a suffix where the operator
	// has several builds of one.
	Name    string `json:"name"`
	Version string `json:"version"` // as the program itself says, with the v
	// Static means that it needs no library, without which it does not run in a jail.
	Static bool `json:"static"`
	// Filter says what is known of its default filter of system calls.
	Filter Filter    `json:"filter"`
	Digest string    `json:"digest"` // SHA-256 of the program, in hex
	Jailer string    `json:"jailer"` // that of its jailer
	Size   int64     `json:"size"`   // of both, in bytes
	At     time.Time `json:"at"`     // when it was imported
	// Firecracker and JailerPath are where the two programs lie.
	Firecracker string `json:"-"`
	JailerPath  string `json:"-"`
}

// Filter says whether a build has a default filter of system calls.
type Filter string

// Firecracker's own builds have one. Those for the GNU C library have none, as its documentation
// says, nor have debug builds, which cannot be told from others.
const (
	FilterBuiltIn Filter = "built in"
	FilterNone    Filter = "none"
)

// Store is the directory that programs and kernels are kept in. Everything in it is complete:
// what is imported is made beside it and moved there.
type Store struct{ dir string }

// Open returns the store in a directory, which is made when something is imported.
func Open(dir string) *Store { return &Store{dir: dir} }

// Dir is the directory of the store.
func (s *Store) Dir() string { return s.dir }

const (
	programsDir = "programs"
	kernelsDir  = "kernels"
)

// namePattern keeps names fit for paths, records and tables.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,79}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return shoal.ErrFirecrackerName.New("%q is no name: letters, digits and .+_- are, up to 80 of them", name)
	}
	return nil
}

// Import checks a build of Firecracker with its jailer and keeps a copy. An empty name is the
// version that the program says.
func (s *Store) Import(ctx context.Context, firecracker, jailer, name string) (Program, error) {
	p, err := examine(ctx, firecracker, jailer)
	if err != nil {
		return Program{}, err
	}
	p.Name, p.At = p.Version, time.Now().UTC().Truncate(time.Second)
	if name != "" {
		p.Name = name
	}
	if err := checkName(p.Name); err != nil {
		return Program{}, err
	}
	if old, err := s.Program(p.Name); err == nil && old.Digest == p.Digest && old.Jailer == p.Jailer {
		return old, nil
	} else if err == nil {
		return Program{}, shoal.ErrFirecrackerExists.New("another build is imported as %s", p.Name)
	}
	err = s.put(filepath.Join(programsDir, p.Name), p, programRecord, func(dir string) error {
		return errors.Join(copyFile(firecracker, filepath.Join(dir, firecrackerFile), 0o755),
			copyFile(jailer, filepath.Join(dir, jailerFile), 0o755))
	})
	if err != nil {
		return Program{}, err
	}
	return s.Program(p.Name)
}

// put makes a directory as a whole: its files by fill, then the record.
func (s *Store) put(name string, record any, recordName string, fill func(dir string) error) (err error) {
	parent := filepath.Join(s.dir, filepath.Dir(name))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make the directory of programs: %w", err)
	}
	draft, err := os.MkdirTemp(parent, ".tmp-")
	if err != nil {
		return fmt.Errorf("make the directory of a program: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(draft))
		}
	}()
	if err := os.Chmod(draft, 0o755); err != nil {
		return err
	}
	if err := fill(draft); err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	err = atomicfile.WriteFile(filepath.Join(draft, recordName), append(data, '\n'), 0o644, atomicfile.Durable)
	if err != nil {
		return err
	}
	return os.Rename(draft, filepath.Join(s.dir, name))
}

func copyFile(from, to string, perm fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// Programs lists what is imported, the latest version first.
func (s *Store) Programs() ([]Program, error) {
	var list []Program
	err := s.each(programsDir, func(name string) error {
		p, err := s.Program(name)
		if err == nil {
			list = append(list, p)
		}
		return err
	})
	slices.SortFunc(list, func(a, b Program) int {
		if c := CompareVersions(b.Version, a.Version); c != 0 {
			return c
		}
		return strings.Compare(b.Name, a.Name)
	})
	return list, err
}

// each calls f with the names in a directory of the store; a missing directory has none.
func (s *Store) each(dir string, f func(name string) error) error {
	entries, err := os.ReadDir(filepath.Join(s.dir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			err = errors.Join(err, f(e.Name()))
		}
	}
	return err
}

// Program finds one by its name. One that is not there is shoal.ErrFirecrackerMissing.
func (s *Store) Program(name string) (Program, error) {
	if err := checkName(name); err != nil {
		return Program{}, err
	}
	dir := filepath.Join(s.dir, programsDir, name)
	var p Program
	if err := readRecord(filepath.Join(dir, programRecord), &p); errors.Is(err, fs.ErrNotExist) {
		return Program{}, shoal.ErrFirecrackerMissing.New("Firecracker %s is not imported on this machine", name)
	} else if err != nil {
		return Program{}, err
	}
	p.Name = name // the directory's name counts, also after somebody has renamed it
	p.Firecracker, p.JailerPath = filepath.Join(dir, firecrackerFile), filepath.Join(dir, jailerFile)
	return p, nil
}

func readRecord(path string, record any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, record); err != nil {
		return shoal.ErrFirecrackerChanged.Wrap(err, "the record %s cannot be read", path)
	}
	return nil
}

// Verify compares a program with what was imported.
func (p Program) Verify() error {
	return errors.Join(verifyFile(p.Firecracker, p.Digest), verifyFile(p.JailerPath, p.Jailer))
}

func verifyFile(path, digest string) error {
	now, _, err := digestOf(path)
	if err != nil {
		return shoal.ErrFirecrackerChanged.Wrap(err, "%s cannot be read", path)
	}
	if now != digest {
		return shoal.ErrFirecrackerChanged.New("%s is not what was imported: its SHA-256 is %.12s… instead of %.12s…",
			path, now, digest)
	}
	return nil
}

func digestOf(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), size, err
}

// Remove removes a program. What has been started from it goes on: a jail has a copy.
func (s *Store) Remove(name string) error {
	if _, err := s.Program(name); err != nil {
		return err
	}
	return s.remove(filepath.Join(programsDir, name))
}

// remove moves a directory aside first, so that nobody finds half of it.
func (s *Store) remove(name string) error {
	aside := filepath.Join(s.dir, filepath.Dir(name), ".tmp-removed-"+filepath.Base(name))
	if err := os.Rename(filepath.Join(s.dir, name), aside); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}

// CompareVersions orders versions such as v1.9.1 and v1.16.0-dev: by numbers first.
func CompareVersions(a, b string) int {
	as, bs := versionParts(a), versionParts(b)
	for i := range max(len(as), len(bs)) {
		var x, y int
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		if x != y {
			return x - y
		}
	}
	return strings.Compare(a, b)
}

func versionParts(v string) (parts []int) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	for part := range strings.SplitSeq(v, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		parts = append(parts, n)
	}
	return parts
}
