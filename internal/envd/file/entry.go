package file

import (
	"os"
	"path/filepath"
	"syscall"
	"time"

	"shoal/internal/envd/account"
)

// Type is what a name leads to once its links are followed. What is neither a file nor a
// directory is Other, and so is a broken link.
type Type int

// The values of an entry's type.
const (
	Other Type = iota
	Regular
	Directory
)

// Entry describes one name in the file system (envd.md §2.6).
type Entry struct {
	Name        string
	Path        string
	Type        Type
	Size        int64  // of the name itself: for a link the length of its text
	Mode        uint32 // permission bits; for a link those of its target
	Permissions string // of the name itself, as os.FileMode prints it
	Owner       string
	Group       string
	ModTime     time.Time
	Target      string // for a link the absolute path it leads to, or its own; else ""
	Metadata    map[string]string
}

// Stat describes the path; it does not follow a final link.
func Stat(path string, names *account.Database) (Entry, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Entry{}, err
	}
	return describe(path, info, names.Names()), nil
}

// describe is Stat for a caller that already has the path's lstat.
func describe(path string, info os.FileInfo, names account.Names) Entry {
	e := Entry{
		Name:        filepath.Base(path),
		Path:        path,
		Type:        typeOf(info.Mode()),
		Size:        info.Size(),
		Mode:        uint32(info.Mode().Perm()),
		Permissions: info.Mode().String(),
		ModTime:     info.ModTime().UTC(),
		Metadata:    ReadMetadata(path),
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		e.Owner, e.Group = names.Of(stat.Uid, stat.Gid)
	}
	if info.Mode()&os.ModeSymlink != 0 {
		e.follow(path)
	}
	return e
}

// follow fills in what depends on a link's target.
func (e *Entry) follow(path string) {
	e.Type, e.Mode, e.Target = Other, 0, path
	if target, err := os.Stat(path); err == nil {
		e.Type, e.Mode = typeOf(target.Mode()), uint32(target.Mode().Perm())
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		if absolute, err := filepath.Abs(resolved); err == nil {
			e.Target = absolute
		}
	}
}

func typeOf(mode os.FileMode) Type {
	switch {
	case mode.IsRegular():
		return Regular
	case mode.IsDir():
		return Directory
	}
	return Other
}
