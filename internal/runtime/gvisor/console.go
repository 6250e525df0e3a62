package gvisor

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	consoleFile  = "console.log"
	consoleLines = 50
	consoleTail  = 16 << 10 // bytes read to find the last lines
	// consoleLimit is the size at which trimConsole empties the file: a guest's
	// root can write to it without end.
	consoleLimit = 1 << 20
)

// Console returns the last lines that the first process wrote.
func (g *guest) Console() string { return readConsole(g.spec.Dir) }

func readConsole(dir string) string {
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
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(lines) > consoleLines {
		lines = lines[len(lines)-consoleLines:]
	}
	return strings.Join(lines, "\n")
}

// trimConsole empties a console that has grown too large. The kernel appends, so
// it goes on at the new end.
func (g *guest) trimConsole() {
	path := filepath.Join(g.spec.Dir, consoleFile)
	if info, err := os.Stat(path); err == nil && info.Size() > consoleLimit {
		_ = os.Truncate(path, 0)
	}
}
