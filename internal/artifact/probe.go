package artifact

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/atomicfile"
)

// Probe writes a file to a directory of artifacts, has it change its name, reads it and removes it.
// It returns when the file was written by the clock of the file system, which may be another
// machine's.
func Probe(dir string) (written time.Time, err error) {
	f, err := atomicfile.Create(dir)
	if err != nil {
		return written, fmt.Errorf("write to %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, f.Discard()) }()
	// Files of this name are removed by the next Open, should this process end.
	path := filepath.Join(dir, ".probe-"+rand.Text()+atomicfile.Suffix)
	text := []byte(rand.Text())
	if _, err := f.Write(text); err != nil {
		return written, fmt.Errorf("write to %s: %w", dir, err)
	}
	if err := f.Commit(path, 0o600, atomicfile.Durable); err != nil {
		return written, fmt.Errorf("write to %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	got, err := os.ReadFile(path)
	if err != nil {
		return written, fmt.Errorf("read from %s: %w", dir, err)
	}
	if !bytes.Equal(got, text) {
		return written, fmt.Errorf("%s does not give back what was written", dir)
	}
	info, err := os.Stat(path)
	if err != nil {
		return written, err
	}
	return info.ModTime(), nil
}
