// Package tmpfiles makes the files and directories that packages ask an init system for
// (tmpfiles.d(5)). Guests have no init system, and packages count on what it would have made,
// above all below /run.
package tmpfiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"shoal/internal/envd/account"
)

const (
	maxFile  = 1 << 20 // bytes of a file that are read
	maxLines = 10_000  // of all files; the rest is left out
	maxWalk  = 100_000 // names that all Z lines together visit
)

// directories are where the files are. Of files with the same name the first counts.
var directories = []string{"/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d",
	"/usr/lib/tmpfiles.d", "/lib/tmpfiles.d"}

// never is what only an init system that goes on can make: while it is there, nobody may log in.
const never = "/run/nologin"

// System is where the files are applied.
type System struct {
	Root     string // "" is the file system itself
	Accounts *account.Database
}

func (s *System) at(name string) string { return filepath.Join(s.Root, name) }

// Create makes what the files ask for, and with boot also removes what they want removed when
// the system boots. It returns the names below /run that are asked for and exist, without
// "/run/". Lines that cannot be carried out are in the error, and keep no other from it.
func (s *System) Create(ctx context.Context, boot bool) (below []string, err error) {
	lines, errs := s.read(ctx)
	budget := maxWalk
	for _, l := range lines {
		if ctx.Err() != nil {
			return below, errors.Join(errs, ctx.Err())
		}
		if l.removes() && !boot {
			continue
		}
		if err := s.apply(ctx, l, &budget); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%c %s: %w", l.kind, l.path, err))
		}
		if name, ok := belowRun(l.path); ok && l.creates() {
			if _, err := os.Lstat(s.at(l.path)); err == nil {
				below = append(below, name)
			}
		}
	}
	return below, errs
}

func belowRun(name string) (string, bool) { return strings.CutPrefix(name, "/run/") }

// The order in which lines are carried out.
const (
	removing = iota
	creating
	adjusting
)

func (l *line) order() int {
	switch l.kind {
	case 'r', 'R':
		return removing
	case 'e', 'z', 'Z':
		return adjusting
	}
	return creating
}

func (l *line) removes() bool { return l.order() == removing }
func (l *line) creates() bool { return l.order() == creating }

// read returns the lines in the order in which they are carried out: a directory before what is
// in it, and of two for the same name the first.
func (s *System) read(ctx context.Context) ([]*line, error) {
	type place struct {
		order int
		path  string
	}
	var errs error
	chosen := map[place]*line{}
	total := 0
	for _, file := range s.files() {
		if ctx.Err() != nil {
			return nil, errors.Join(errs, ctx.Err())
		}
		text, err := readBounded(file)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		for raw := range strings.Lines(text) {
			raw = strings.TrimSpace(raw)
			if raw == "" || raw[0] == '#' {
				continue
			}
			if total++; total > maxLines {
				return ordered(chosen), errors.Join(errs, fmt.Errorf("there are more than %d lines", maxLines))
			}
			l, err := s.parseLine(raw)
			if err != nil {
				errs = errors.Join(errs, fmt.Errorf("%s: %w", filepath.Base(file), err))
			}
			if l == nil || err != nil || l.path == never {
				continue
			}
			if rest, old := strings.CutPrefix(l.path, "/var/run/"); old {
				l.path = "/run/" + rest
			}
			if at := (place{l.order(), l.path}); chosen[at] == nil {
				chosen[at] = l
			}
		}
	}
	return ordered(chosen), errs
}

func ordered[K comparable](chosen map[K]*line) []*line {
	return slices.SortedFunc(maps.Values(chosen), func(a, b *line) int {
		if d := a.order() - b.order(); d != 0 {
			return d
		}
		return strings.Compare(a.path, b.path)
	})
}

// files returns the paths of the files, by their names.
func (s *System) files() []string {
	byName := map[string]string{}
	for _, dir := range directories {
		entries, _ := os.ReadDir(s.at(dir))
		for _, e := range entries {
			name := e.Name()
			if _, taken := byName[name]; !taken && path.Ext(name) == ".conf" {
				byName[name] = s.at(path.Join(dir, name))
			}
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		// A link to /dev/null stands for nothing.
		if info, err := os.Stat(byName[name]); err == nil && info.Mode().IsRegular() {
			files = append(files, byName[name])
		}
	}
	return files
}

func readBounded(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(data), err
}
