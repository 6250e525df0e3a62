package gvisor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/console"
)

const (
	panicFile = "panic.log" // what the kernel's program writes when it crashes
	panicHead = 2 << 10     // bytes; the stacks of all goroutines follow
)

// Console returns the last lines that the first process wrote and, once the guest has
// ended, how its kernel ended.
func (g *guest) Console() string {
	text := console.Read(g.spec.Dir)
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
