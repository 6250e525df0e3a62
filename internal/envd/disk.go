package envd

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"shoal/internal/envd/answer"
)

// The ioctl numbers of linux/fs.h, the same on all supported machines.
const (
	ioctlFreeze = 0xc0045877
	ioctlThaw   = 0xc0045878
)

// disk freezes and thaws the root file system, one at a time.
type disk struct {
	mu    sync.Mutex
	ioctl func(request uint) error // replaced in tests: a real freeze stops the machine
	sync  func()
}

func newDisk() *disk { return &disk{ioctl: rootIoctl, sync: unix.Sync} }

func rootIoctl(request uint) error {
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	return unix.IoctlSetInt(int(root.Fd()), request, 0)
}

// handleFreeze answers 204 when the file system is frozen, and 501 when the kernel cannot
// freeze it; then it has at least flushed everything.
func (d *disk) handleFreeze(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.ioctl(ioctlFreeze)
	if incapable(err) {
		d.sync()
	}
	answerDisk(w, err, unix.EBUSY)
}

func (d *disk) handleThaw(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	answerDisk(w, d.ioctl(ioctlThaw), unix.EINVAL)
}

func answerDisk(w http.ResponseWriter, err, already error) {
	switch {
	case err == nil, errors.Is(err, already):
		answer.NoContent(w)
	case incapable(err):
		answer.Error(w, http.StatusNotImplemented,
			fmt.Sprintf("this kernel cannot freeze its root file system (%v); it was flushed", err))
	default:
		answer.Error(w, http.StatusInternalServerError, err.Error())
	}
}

func incapable(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}
