package firecracker

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	consoleFile  = "console.log"
	consoleLines = 50
	consoleTail  = 16 << 10 // bytes
	// consoleLimit is the size at which trimConsole empties the file, because the guest can write to
	// it without end.
	consoleLimit = 1 << 20
)

func openConsole(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, consoleFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// readConsole returns the last lines of a guest's console.
func readConsole(dir string) string {
	lines := strings.Split(consoleEnd(dir), "\n")
	return strings.Join(lines[max(len(lines)-consoleLines, 0):], "\n")
}

// consoleEnd returns what a guest's console said last. A kernel that ends says why before its call trace.
func consoleEnd(dir string) string {
	f, err := os.Open(filepath.Join(dir, consoleFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > consoleTail {
		if _, err := f.Seek(-consoleTail, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, consoleTail))
	if err != nil {
		return ""
	}
	return strings.TrimRight(strings.ReplaceAll(string(data), "\r", ""), "\n")
}

// trimConsole empties a console that has grown too large. Firecracker has it open for appending, so
// it goes on writing at the new end.
func trimConsole(dir string) {
	path := filepath.Join(dir, consoleFile)
	if info, err := os.Stat(path); err == nil && info.Size() > consoleLimit {
		_ = os.Truncate(path, 0)
	}
}
