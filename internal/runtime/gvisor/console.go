package gvisor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	consoleFile  = "console.log"
	panicFile    = "panic.log" // what the kernel's program writes when it crashes
	panicHead    = 2 << 10     // bytes; the stacks of all goroutines follow
	consoleLines = 50
	consoleTail  = 16 << 10 // bytes read to find the last lines
	// consoleLimit is the size at which trimConsole empties the file, because root in the
	// guest can write to it without end.
	consoleLimit = 1 << 20
)

// Console returns the last lines that the first process wrote and, once the guest has
// ended, how its kernel ended.
func (g *guest) Console() string {
	text := readConsole(g.spec.Dir)
	if !g.ended() {
		return text
	}
	if end := howEnded(g.exit); end != "" {
		text += "\nthe sandbox kernel " + end
	}
	if words := readPanic(g.spec.Dir); words != "" {
		text += "\nits last words: " + words
	}
	return strings.TrimPrefix(text, "\n")
}

// howEnded says how a kernel's process ended; "" if it ended well or nobody knows.
func howEnded(status unix.WaitStatus) string {
	if status.Signaled() {
		return "was ended by a signal: " + status.Signal().String()
	}
	if code := status.ExitStatus(); code != 0 {
		return fmt.Sprintf("ended with exit code %d", code)
	}
	return ""
}

// readPanic returns the beginning of what a kernel's program wrote when it crashed.
func readPanic(dir string) string {
	f, err := os.Open(filepath.Join(dir, panicFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, panicHead))
	return strings.TrimSpace(string(data))
}

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

// trimConsole empties a console that has grown too large. The kernel opened it for
// appending, so it goes on writing at the new end.
func (g *guest) trimConsole() {
	path := filepath.Join(g.spec.Dir, consoleFile)
	if info, err := os.Stat(path); err == nil && info.Size() > consoleLimit {
		_ = os.Truncate(path, 0)
	}
}
