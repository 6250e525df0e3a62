package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/config"
)

// EndedError means that the process of a new sandbox ended before it was ready.
type EndedError struct {
	Status unix.WaitStatus // of the process
	Err    error           // what was noticed of its end
}

var _ error = (*EndedError)(nil)

// Error returns what was noticed.
func (e *EndedError) Error() string { return e.Err.Error() }

// Unwrap returns it as an error.
func (e *EndedError) Unwrap() error { return e.Err }

// ended collects the process, which has hung up. It does so while it ends, and a signal then
// does not change its status any more.
func (s *Sandbox) ended(err error) error {
	if failed := s.destroy(); failed != nil {
		return errors.Join(err, failed)
	}
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	return &EndedError{Status: s.status, Err: err}
}

// keepWords has the log for panics get what the process says before it opens that itself,
// such as that there can be no more threads.
func keepWords(cmd *exec.Cmd, conf *config.Config) (done func(), err error) {
	if conf.PanicLog == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(conf.PanicLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log for panics: %w", err)
	}
	cmd.Stderr = f
	return func() { f.Close() }, nil
}
