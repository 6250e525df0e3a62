package orchestrator

import (
	"bufio"
	"errors"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

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

// availableMemory is what the kernel thinks can be had without swapping, in bytes.
func availableMemory() (available, total int64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	values := map[string]int64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			n, _ := strconv.ParseInt(fields[0], 10, 64) // a line without a number is none of ours
			values[name] = n << 10
		}
	}
	if values["MemTotal"] == 0 {
		return 0, 0, errors.New("/proc/meminfo has no MemTotal")
	}
	return values["MemAvailable"], values["MemTotal"], nil
}
