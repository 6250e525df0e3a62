package tmpfiles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// apply carries out one line.
func (s *System) apply(ctx context.Context, l *line, budget *int) error {
	at := s.at(l.path)
	switch l.kind {
	case 'd', 'D', 'v', 'q', 'Q':
		return s.create(l, at, 0o755, func() error { return os.Mkdir(at, 0o755) })
	case 'f':
		return s.file(l, at)
	case 'p':
		return s.create(l, at, 0o644, func() error { return syscall.Mkfifo(at, 0o644) })
	case 'L':
		return s.link(l, at)
	case 'C':
		return s.create(l, at, 0, func() error { return copyAll(s.at(l.argument), at) })
	}
	names, err := filepath.Glob(at)
	if err != nil {
		return err
	}
	var errs error
	for _, name := range names {
		switch l.kind {
		case 'r':
			err = os.Remove(name)
		case 'R':
			err = os.RemoveAll(name)
		case 'Z':
			err = s.adjustAll(ctx, l, name, budget)
		default:
			err = s.adjust(l, name, false)
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// create makes a name with its ancestors, unless something is there, and gives it its owner
// and mode. What is there must be of the same type to get them.
func (s *System) create(l *line, at string, mode os.FileMode, produce func() error) error {
	if info, err := os.Lstat(at); err == nil {
		if isDir := l.kind != 'p' && l.kind != 'f'; l.kind != 'C' && info.IsDir() != isDir {
			return fmt.Errorf("something else is there: %s", info.Mode())
		}
		return s.adjust(l, at, false)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := produce(); err != nil {
		return err
	}
	if mode != 0 { // regardless of the mask
		if err := os.Chmod(at, mode); err != nil {
			return err
		}
	}
	return s.adjust(l, at, true)
}

// file makes a file. With f+ it gets its content even if it is there.
func (s *System) file(l *line, at string) error {
	write := func(flags int) error {
		f, err := os.OpenFile(at, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|flags, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(l.argument)
		return errors.Join(err, f.Close())
	}
	err := s.create(l, at, 0o644, func() error { return write(os.O_CREATE | os.O_EXCL) })
	if err == nil && l.plus {
		err = write(os.O_TRUNC)
	}
	return err
}

func (s *System) link(l *line, at string) error {
	if l.ifThere {
		target := l.argument
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(l.path), target)
		}
		if _, err := os.Stat(s.at(target)); err != nil {
			return nil
		}
	}
	if _, err := os.Lstat(at); err == nil {
		if old, err := os.Readlink(at); !l.plus || (err == nil && old == l.argument) {
			return nil
		}
		if err := os.RemoveAll(at); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.Symlink(l.argument, at)
}

// copyAll copies a file or a directory; a missing one is nothing.
func copyAll(from, to string) error {
	info, err := os.Stat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return os.CopyFS(to, os.DirFS(from))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", from)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm())
}

// adjust gives a name its owner and mode. made says that the line has created it.
func (s *System) adjust(l *line, at string, made bool) error {
	uid, gid := -1, -1
	if l.user.name != "" && (made || !l.user.creation) {
		id, err := s.userID(l.user.name)
		if err != nil {
			return err
		}
		uid = id
	}
	if l.group.name != "" && (made || !l.group.creation) {
		id, err := s.groupID(l.group.name)
		if err != nil {
			return err
		}
		gid = id
	}
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && info.Mode()&os.ModeSymlink != 0) {
		return nil // a copy of nothing; or a link, which has no mode
	}
	if err != nil {
		return err
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(at, uid, gid); err != nil { // before the mode, from which it takes bits
			return err
		}
	}
	if !l.hasMode || (l.modeOnce && !made) {
		return nil
	}
	mode := l.mode
	if l.masked {
		mode = mask(mode, info)
	}
	return os.Chmod(at, mode)
}

// mask leaves out of a mode the bits to run and to write that a file has for nobody.
func mask(mode os.FileMode, info os.FileInfo) os.FileMode {
	if info.Mode()&0o111 == 0 {
		mode &^= 0o111
	}
	if info.Mode()&0o222 == 0 {
		mode &^= 0o222
	}
	return mode
}

// adjustAll adjusts a name and everything below it.
func (s *System) adjustAll(ctx context.Context, l *line, top string, budget *int) error {
	return filepath.WalkDir(top, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if *budget--; *budget < 0 {
			return fmt.Errorf("more than %d names would be changed", maxWalk)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.adjust(l, name, false)
	})
}

func (s *System) userID(name string) (int, error) {
	u, err := s.Accounts.Lookup(name)
	if err == nil {
		return int(u.UID), nil
	}
	return number(name, err)
}

func (s *System) groupID(name string) (int, error) {
	gid, err := s.Accounts.Group(name)
	if err == nil {
		return int(gid), nil
	}
	return number(name, err)
}

// number is the ID that a name is, or the error if it is none.
func number(name string, err error) (int, error) {
	if id, notANumber := strconv.ParseUint(name, 10, 31); notANumber == nil {
		return int(id), nil
	}
	return 0, err
}
