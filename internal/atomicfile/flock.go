package atomicfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// Flock calls flock(2), again if a signal interrupts it. Who closes the file unlocks it.
func Flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
