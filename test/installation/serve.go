package installation

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// stopTime bounds how long `shoal up` may take to end.
const stopTime = 30 * time.Second

// Serve plans an installation as New does, starts it, calls do with it and removes it.
// What it has said is in the file log afterwards. What it leaves behind on the host is an error.
func Serve(root, name string, subnet int, log string, env []string, do func(*Installation) error) (err error) {
	if err := Sweep(root, map[string]int{name: subnet}); err != nil {
		return err
	}
	before, err := ReadHost()
	if err != nil {
		return err
	}
	i, err := New(root, name, subnet, env...)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, i.Remove())
		for _, leak := range before.AwaitQuiet() {
			err = errors.Join(err, errors.New(leak))
		}
	}()
	if err := i.Runnable(); err != nil {
		return err
	}
	up, err := i.Up()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, i.Stop(up, stopTime), os.WriteFile(log, []byte(up.Output()), 0o600))
	}()
	return do(i)
}

// Stop ends the process, within the limit, and then, by `shoal down`, what it left running.
func (i *Installation) Stop(up *Process, limit time.Duration) error {
	err := up.Stop(syscall.SIGTERM, limit)
	if err != nil {
		err = fmt.Errorf("shoal up did not end well: %w\n%s", err, up.Tail())
	}
	return errors.Join(err, i.Down())
}
