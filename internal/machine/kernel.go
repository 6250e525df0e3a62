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

// extractKernel writes the sandbox kernel to a directory named by its digest, so that
// running guests and snapshots keep their kernel when shoal is upgraded.
func extractKernel(dataDir string, program []byte) (string, error) {
	if len(program) == 0 {
		return "", errors.New("this binary was built without the sandbox kernel; build it with `make build`")
	}
	dir := filepath.Join(kernelsDir(dataDir), fmt.Sprintf("%x", sha256.Sum256(program)))
	path := filepath.Join(dir, "kernel")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// The kernel runs as nobody, which must be able to traverse these directories.
	for _, d := range []string{dataDir, kernelsDir(dataDir), dir} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return "", fmt.Errorf("make the kernels' directory: %w", err)
		}
	}
	if err := atomicfile.WriteFile(path, program, 0o755, atomicfile.Durable); err != nil {
		return "", fmt.Errorf("extract the sandbox kernel: %w", err)
	}
	return path, nil
}
