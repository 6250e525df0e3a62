package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// GroupError is what a failed change of a guest's cgroup, the directory group of the host, says of the guest, whose
// Done is given: ErrGone if it has ended, also if only its group is gone yet, and else, where the host's kernel
// has no such setting (before 5.15), an errors.ErrUnsupported.
func GroupError(err error, group string, done <-chan struct{}) error {
	if err == nil {
		return nil
	}
	select {
	case <-done:
		return ErrGone
	default:
	}
	_, groupErr := os.Stat(group)
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(groupErr, fs.ErrNotExist): // the group goes first
		return ErrGone
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}
