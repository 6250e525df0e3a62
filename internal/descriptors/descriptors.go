// Package descriptors keeps the files that a process was started with from the programs that
// it starts.
package descriptors

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const firstInherited = 3 // below are standard input, output and error

// KeepInherited marks what the process inherited besides its standard files, so that no
// program that it starts gets them too. They are nothing to sandboxes, and some programs fail
// when descriptors have two digits: mmdebstrap has dash redirect output to one, and dash reads
// a single digit. Those that are handed to a program on purpose are duplicated for it, and do
// not care. Call it first.
//
// The host's kernel can do this in one call, but from Linux 5.11 on only.
func KeepInherited() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list the descriptors that were inherited: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= firstInherited {
			unix.CloseOnExec(fd) // that of the list itself is closed
		}
	}
	return nil
}
