package orchestrator

import (
	goruntime "runtime"

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
