package machine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/atomicfile"
)

// kernelsDir is where each sandbox kernel that a guest or a snapshot needs is kept.
func kernelsDir(dataDir string) string { return filepath.Join(dataDir, "kernels") }

// extractKernel puts the sandbox kernel below the data directory, named by its content,
// so that running guests and snapshots keep theirs when shoal is replaced.
func extractKernel(dataDir string, program []byte) (string, error) {
	if len(program) == 0 {
		return "", errors.New("this binary was built without the sandbox kernel; build it with `make build`")
	}
	dir := filepath.Join(kernelsDir(dataDir), fmt.Sprintf("%x", sha256.Sum256(program)))
	path := filepath.Join(dir, "kernel")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// The kernel runs as nobody, who must be able to reach it.
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
