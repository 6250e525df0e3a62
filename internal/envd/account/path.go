package account

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// ErrPath says that a path names another user's home, or holds a NUL, which no path can.
var ErrPath = errors.New("unsupported path")

// Resolve makes a client's path absolute (envd.md §4.4). An empty path is the
// workdir, or the user's home when there is none; "~" is the home; a relative
// path starts at the home, not at the workdir. An absolute path is returned as
// it came, not cleaned.
func (u User) Resolve(path, workdir string) (string, error) {
	if path == "" {
		if workdir == "" {
			return u.home(), nil
		}
		path = workdir
	}
	if strings.IndexByte(path, 0) >= 0 {
		return "", fmt.Errorf("%w: a path cannot have a NUL", ErrPath)
	}
	if rest, tilde := strings.CutPrefix(path, "~"); tilde {
		if rest != "" && rest[0] != '/' && rest[0] != '\\' {
			return "", errors.Join(ErrPath, errors.New("only the own home directory can be named by ~"))
		}
		return filepath.Join(u.home(), rest), nil
	}
	if filepath.IsAbs(path) {
		return path, nil
	}
	return filepath.Join(u.home(), path), nil
}

func (u User) home() string {
	if u.Home == "" {
		return "/"
	}
	return u.Home
}
