package machine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// stopLimit is how long a process that was asked to exit may take.
const stopLimit = 30 * time.Second

// StopHolder asks the process that holds the lock of this run directory, if any, to exit,
// and waits until it has.
func StopHolder(ctx context.Context, runDir string) error {
	path := runLock(runDir)
	held, err := takeLock(path)
	if err == nil {
		held.release()
		return nil
	}
	if !errors.Is(err, errLocked) {
		return err
	}
	pid := lockHolder(path)
	if pid == 0 {
		return err
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		held, err := takeLock(path)
		if err == nil {
			held.release()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", pid, err)
		case <-tick.C:
		}
	}
}
