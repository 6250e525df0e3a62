// Package console keeps what a guest's first process writes: a file in the guest's directory, whose end
// is read.
package console

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	// File is the name of the file.
	File = "console.log"
	// Limit is the size in bytes at which Trim empties the file, because root in the guest can write
	// to it without end.
	Limit = 1 << 20

	lines = 50
	tail  = 16 << 10 // bytes
)

// Open opens the console of a guest's directory for appending, and makes it if needed.
func Open(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, File), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
}

// Read returns the last lines; "" if there is no console.
func Read(dir string) string {
	all := strings.Split(End(dir), "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n")
}

// End returns more than that: all of what was said last, up to 16 KiB.
func End(dir string) string {
	f, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tail {
		if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, tail))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(data), "\n")
}

// Trim empties a console that has grown too large. Who writes has it open for appending, and goes on at the
// new end.
func Trim(dir string) {
	path := filepath.Join(dir, File)
	if info, err := os.Stat(path); err == nil && info.Size() > Limit {
		_ = os.Truncate(path, 0)
	}
}
