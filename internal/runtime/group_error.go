package runtime

import (
	"errors"
	"fmt"
	"io/fs"
)

// GroupError is what a failed change of the host's cgroup of a guest says of the guest, whose Done is given: ErrGone
// if it has ended, and else, where the host's kernel has no such setting (before 5.15), an errors.ErrUnsupported.
func GroupError(err error, done <-chan struct{}) error {
	if err == nil {
		return nil
	}
	select {
	case <-done:
		return ErrGone
	default:
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}
