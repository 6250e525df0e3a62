package guestinit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/control"
)

// neverEnded is the score of a process that must not be ended for its memory.
const neverEnded = "-1000"

// gone bounds how long an ended process may take to give its memory back.
const gone = 2 * time.Second

// endLargest ends the process of the guest that has most memory, but for its first one and those
// that must not be. The zero value is that there is none.
func endLargest() (control.Ended, error) {
	var largest control.Ended
	pid := 0
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return largest, err
	}
	for _, dir := range dirs {
		inside, name, ok := guestProcess(dir)
		if !ok {
			continue
		}
		if bytes := resident(dir); bytes > largest.Bytes {
			largest = control.Ended{PID: inside, Name: name, Bytes: bytes}
			pid, _ = strconv.Atoi(filepath.Base(dir))
		}
	}
	if pid == 0 {
		return largest, nil
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return control.Ended{}, fmt.Errorf("end process %d: %w", pid, err)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	for deadline := time.Now().Add(gone); resident(dir) > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	return largest, nil
}

// guestProcess tells whether a process may be ended, and its number and name as the guest has it.
func guestProcess(dir string) (inside int, name string, ok bool) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, "", false
	}
	for line := range bytes.Lines(status) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		switch fields := strings.Fields(value); key {
		case "Name":
			name = strings.TrimSpace(value)
		case "NSpid":
			if len(fields) < 2 {
				return 0, "", false // this program, or a thread of the kernel
			}
			inside, _ = strconv.Atoi(fields[1])
		}
	}
	score, err := os.ReadFile(filepath.Join(dir, "oom_score_adj"))
	return inside, name, err == nil && inside > 1 && strings.TrimSpace(string(score)) != neverEnded
}

// resident is what a process has in memory, in bytes.
func resident(dir string) int64 {
	data, err := os.ReadFile(filepath.Join(dir, "statm"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
