package machine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/atomicfile"
)

// kernelsDir is where the sandbox kernels are kept that guests or snapshots need.
func kernelsDir(dataDir string) string { return filepath.Join(dataDir, "kernels") }

// attendantsDir is where the program is kept that runs beside microVMs.
func attendantsDir(dataDir string) string { return filepath.Join(dataDir, "attendants") }

// extractKernel writes the sandbox kernel to a directory named by its digest, so that
// running guests and snapshots keep their kernel when shoal is upgraded.
func extractKernel(dataDir string, program []byte) (string, error) {
	if len(program) == 0 {
		return "", errors.New("this binary was built without the sandbox kernel; build it with `make build`")
	}
	path, err := extract(dataDir, kernelsDir(dataDir), "kernel", program)
	if err != nil {
		return "", fmt.Errorf("extract the sandbox kernel: %w", err)
	}
	return path, nil
}

// extractAttendant writes the program that runs beside microVMs, and removes those of other builds of shoal: who runs
// them needs the file no more.
func extractAttendant(dataDir string, program []byte) (string, error) {
	if len(program) == 0 {
		return "", errors.New("this binary was built without what runs beside microVMs; build it with `make build`")
	}
	dir := attendantsDir(dataDir)
	path, err := extract(dataDir, dir, "attendant", program)
	if err != nil {
		return "", fmt.Errorf("extract what runs beside microVMs: %w", err)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != filepath.Base(filepath.Dir(path)) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return path, err
}

// extract writes a program to a directory in parent, named by its digest, unless it is there.
func extract(dataDir, parent, name string, program []byte) (string, error) {
	dir := filepath.Join(parent, fmt.Sprintf("%x", sha256.Sum256(program)))
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// The kernel runs as nobody, which must be able to traverse these directories.
	for _, d := range []string{dataDir, parent, dir} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return "", err
		}
	}
	return path, atomicfile.WriteFile(path, program, 0o755, atomicfile.Durable)
}
