package envd

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"shoal/internal/envd/answer"
)

// The platform freezes whole guests from outside and this daemon makes no cgroups, so the
// endpoints here do nothing, and say so in the form that their callers expect (envd.md §7).

// freezeReport is the answer to a freeze that waits. All counts are zero.
type freezeReport struct {
	Mode         string `json:"mode"`
	Visited      int    `json:"visited"`
	Allowlisted  int    `json:"allowlisted"`
	Truncated    bool   `json:"truncated"`
	PreFrozen    int    `json:"preFrozen"`
	Requested    int    `json:"requested"`
	Frozen       int    `json:"frozen"`
	NotFrozen    int    `json:"notFrozen"`
	Failed       int    `json:"failed"`
	Unobservable int    `json:"unobservable"`
	SweepMs      int64  `json:"sweepMs"`
	WaitMs       int64  `json:"waitMs"`
}

func handleFreeze(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	wait := 0
	for _, name := range []string{"maxCgroups", "maxWaitMs"} {
		if !query.Has(name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(name))
		if err != nil {
			answer.Text(w, http.StatusBadRequest, name+" is not an integer")
			return
		}
		if name == "maxWaitMs" {
			wait = n
		}
	}
	mode := query.Get("mode")
	switch mode {
	case "":
		mode = "legacy"
	case "legacy", "hierarchy":
	default:
		answer.Error(w, http.StatusBadRequest, "mode must be legacy or hierarchy")
		return
	}
	if wait <= 0 {
		noContent(w)
		return
	}
	answer.JSON(w, freezeReport{Mode: mode})
}

func handleUnfreeze(w http.ResponseWriter, _ *http.Request) { noContent(w) }

// collapseReport is the answer of /collapse. All counts are zero: the daemon's heap is too
// small for huge pages to be of use.
type collapseReport struct {
	Regions     int   `json:"regions"`
	Chunks      int   `json:"chunks"`
	Collapsed   int   `json:"collapsed"`
	AlreadyHuge int   `json:"alreadyHuge"`
	Skipped     int   `json:"skipped"`
	ElapsedMs   int64 `json:"elapsedMs"`
}

func handleCollapse(w http.ResponseWriter, _ *http.Request) { answer.JSON(w, collapseReport{}) }

// handleUpgrade refuses: the daemon is replaced by building its template anew.
func handleUpgrade(w http.ResponseWriter, _ *http.Request) {
	answer.Error(w, http.StatusNotImplemented,
		"this daemon is replaced by rebuilding its template, not in place")
}

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
		noContent(w)
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

func noContent(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
