package volume

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What files and directories are without a wish (runtime.md §5.2).
const (
	defaultOwner = 9090
	defaultDir   = 0o777
	defaultFile  = 0o666
)

const (
	maxPath    = 4096 // bytes
	maxDepth   = 10
	maxEntries = 100_000 // of one list
)

// Kind of what is at a path.
type Kind string

// The kinds.
const (
	File      Kind = "file"
	Directory Kind = "directory"
	Symlink   Kind = "symlink"
	Unknown   Kind = "unknown"
)

// Entry is what is at a path of a volume.
type Entry struct {
	Name   string
	Kind   Kind
	Path   string // from the volume's root, with a slash before it
	Size   int64
	Mode   uint32 // permissions with setuid, setgid and sticky
	UID    uint32
	GID    uint32
	Access time.Time
	Modify time.Time
	Change time.Time
	Target string // of a symlink
}

// Wish is what an entry is to be; nil is what it is, or the default.
type Wish struct {
	UID, GID *uint32
	Mode     *uint32 // as Entry.Mode
}

// Error is a failure that clients are told of, by a code of its own (api.md §3.18).
type Error struct {
	Status  int
	Code    string
	Message string
	err     error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.err }

func fail(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Tree is the content of one volume. No path leads out of it, whatever links are in it.
type Tree struct {
	root *os.Root
	room *Room
}

// Open opens a volume's directory. What is written takes from room, which belongs to the tree from then on;
// nil has no bound.
func Open(dir string, room *Room) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, errors.Join(err, room.close())
	}
	return &Tree{root, room}, nil
}

// Close lets go of the volume.
func (t *Tree) Close() error { return errors.Join(t.root.Close(), t.room.close()) }

// clean returns a client's path relative to the root, "." for that itself.
func clean(p string) (string, error) {
	switch {
	case p == "":
		return "", fail(400, "INVALID_PATH", "path is required")
	case len(p) > maxPath || strings.ContainsRune(p, 0):
		return "", fail(400, "INVALID_PATH", "path is too long, or has a character that no path has")
	case slices.Contains(strings.Split(p, "/"), ".."):
		return "", fail(400, "INVALID_PATH", "path must not contain '..'")
	}
	return cmp.Or(strings.TrimPrefix(path.Clean("/"+p), "/"), "."), nil
}

// told words an error of the file system for clients.
func told(err error, p string) error {
	known := new(Error)
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		known = fail(404, "NOT_FOUND", "path %q not found", p)
	case errors.Is(err, fs.ErrExist):
		known = fail(409, "ALREADY_EXISTS", "path %q already exists", p)
	case errors.Is(err, unix.ENOTDIR):
		known = fail(400, "NOT_A_DIRECTORY", "path %q leads through a file", p)
	case errors.Is(err, unix.EISDIR):
		known = fail(400, "IS_A_DIRECTORY", "path %q is a directory", p)
	case errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ELOOP), escapes(err):
		known = fail(400, "INVALID_PATH", "path %q does not lead to a file of the volume", p)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		known = fail(507, "NO_SPACE", "the volume is full")
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EBUSY):
		known = fail(409, "BUSY", "path %q was changed meanwhile", p)
	default:
		known = fail(503, "UNAVAILABLE", "the volume's file system failed")
	}
	known.err = err
	return known
}

// escapes reports whether os.Root has refused a link that leads out.
func escapes(err error) bool { return strings.Contains(err.Error(), "path escapes from parent") }

// Stat returns what is at a path.
func (t *Tree) Stat(p string) (Entry, error) {
	name, err := clean(p)
	if err != nil {
		return Entry{}, err
	}
	return t.stat(name)
}

func (t *Tree) stat(name string) (Entry, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		return Entry{}, told(err, "/"+name)
	}
	return t.entry(name, info), nil
}

func (t *Tree) entry(name string, info fs.FileInfo) Entry {
	sys := info.Sys().(*syscall.Stat_t)
	e := Entry{Name: path.Base("/" + name), Path: path.Clean("/" + name), Kind: Unknown, Size: info.Size(),
		Mode: sys.Mode & 0o7777, UID: sys.Uid, GID: sys.Gid, Access: moment(sys.Atim), Modify: moment(sys.Mtim),
		Change: moment(sys.Ctim)}
	switch info.Mode().Type() {
	case 0:
		e.Kind = File
	case fs.ModeDir:
		e.Kind = Directory
	case fs.ModeSymlink:
		e.Kind = Symlink
		e.Target, _ = t.root.Readlink(name) // it may just have been removed
	}
	return e
}

func moment(t syscall.Timespec) time.Time { return time.Unix(t.Sec, t.Nsec).UTC() }

// List returns what is in a directory, and in those in it down to a depth; 0 is 1. Links are not followed
// below the directory itself. Entries are in the order of their paths, a directory before what is in it.
func (t *Tree) List(p string, depth int) ([]Entry, error) {
	name, err := clean(p)
	if err != nil {
		return nil, err
	}
	if depth < 0 || depth > maxDepth {
		return nil, fail(400, "DEPTH_OUT_OF_RANGE", "depth must be from 1 to %d", maxDepth)
	}
	list := []Entry{}
	err = t.list(name, max(depth, 1), &list)
	return list, told(err, "/"+name)
}

func (t *Tree) list(name string, depth int, to *[]Entry) error {
	dir, err := t.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		at := path.Join(name, base)
		info, err := t.root.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if len(*to) == maxEntries {
			return fail(400, "LIST_TOO_LONG", "there are more than %d entries; list a part of them", maxEntries)
		}
		*to = append(*to, t.entry(at, info))
		if depth > 1 && info.IsDir() {
			if err := t.list(at, depth-1, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// MakeDir makes a directory. Forced, it makes those above it too, and one that is there already will do.
func (t *Tree) MakeDir(p string, w Wish, force bool) (Entry, error) {
	name, err := clean(p)
	if err != nil {
		return Entry{}, err
	}
	if name == "." && !force {
		return Entry{}, told(fs.ErrExist, p)
	}
	if force {
		if err := t.makeParents(name, w); err != nil {
			return Entry{}, told(err, p)
		}
	}
	if err := t.makeOne(name, w); err != nil && !(force && errors.Is(err, fs.ErrExist)) {
		return Entry{}, told(err, p)
	}
	e, err := t.stat(name)
	if err == nil && e.Kind != Directory {
		err = told(fs.ErrExist, p)
	}
	return e, err
}

// makeParents makes what is missing above a name.
func (t *Tree) makeParents(name string, w Wish) error {
	above := path.Dir(name)
	if above == "." || name == "." {
		return nil
	}
	if info, err := t.root.Stat(above); err == nil && info.IsDir() {
		return nil
	}
	if err := t.makeParents(above, w); err != nil {
		return err
	}
	w.Mode = nil // a wish for a file is not one for directories
	if err := t.makeOne(above, w); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (t *Tree) makeOne(name string, w Wish) error {
	if name == "." {
		return fs.ErrExist
	}
	if err := t.room.take(blockSize); err != nil {
		return err
	}
	if err := t.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	return t.apply(name, w.or(defaultDir))
}

// or fills in the defaults of a new entry.
func (w Wish) or(mode uint32) Wish {
	owner := uint32(defaultOwner)
	if w.UID == nil {
		w.UID = &owner
	}
	if w.GID == nil {
		w.GID = &owner
	}
	if w.Mode == nil {
		w.Mode = &mode
	}
	return w
}

// apply makes an entry what is wished. The mode comes last, because a change of the owner takes from it.
func (t *Tree) apply(name string, w Wish) error {
	if w.UID != nil || w.GID != nil {
		if err := t.root.Lchown(name, idOf(w.UID), idOf(w.GID)); err != nil {
			return err
		}
	}
	if w.Mode == nil {
		return nil
	}
	return t.root.Chmod(name, modeOf(*w.Mode))
}

func idOf(id *uint32) int {
	if id == nil {
		return -1
	}
	return int(*id)
}

// modeOf turns the bits of a mode into Go's.
func modeOf(bits uint32) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// Change changes what is wished of an entry. Of a link it changes the owner, and of what it leads to the mode.
func (t *Tree) Change(p string, w Wish) (Entry, error) {
	name, err := clean(p)
	if err != nil {
		return Entry{}, err
	}
	if _, err := t.stat(name); err != nil {
		return Entry{}, err
	}
	if err := t.apply(name, w); err != nil {
		return Entry{}, told(err, p)
	}
	return t.stat(name)
}

// Remove removes an entry, and a directory with all that is in it.
func (t *Tree) Remove(p string) error {
	name, err := clean(p)
	if err != nil {
		return err
	}
	if name == "." {
		return fail(400, "INVALID_PATH", "the root of a volume cannot be removed")
	}
	if _, err := t.stat(name); err != nil {
		return err
	}
	return told(t.root.RemoveAll(name), p)
}

// Read opens a file.
func (t *Tree) Read(p string) (*os.File, error) {
	name, err := clean(p)
	if err != nil {
		return nil, err
	}
	// Without O_NONBLOCK, opening a pipe would wait for who writes to it.
	f, err := t.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, told(err, p)
	}
	info, err := f.Stat()
	switch {
	case err == nil && info.IsDir():
		err = unix.EISDIR
	case err == nil && !info.Mode().IsRegular():
		err = fail(400, "NOT_A_FILE", "path %q is no file", p)
	}
	if err != nil {
		f.Close()
		return nil, told(err, p)
	}
	return f, nil
}
