package orchestrator

import (
	"errors"
	"fmt"
	goruntime "runtime"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// machine returns the number of CPUs and the bytes of memory of this machine.
func machine() (cpus int, memory int64, err error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, 0, err
	}
	return goruntime.NumCPU(), int64(info.Totalram) * int64(info.Unit), nil
}

// availableMemory is what the host's kernel thinks can be had without swapping, in bytes.
func availableMemory() (available, total int64, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	info, err := fs.Meminfo()
	if err != nil {
		return 0, 0, fmt.Errorf("read how much memory is available: %w", err)
	}
	if info.MemAvailableBytes == nil || info.MemTotalBytes == nil {
		return 0, 0, errors.New("the host's kernel does not say how much memory is available")
	}
	return int64(*info.MemAvailableBytes), int64(*info.MemTotalBytes), nil
}
