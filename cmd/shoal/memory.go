package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"shoal/internal/runtime"
)

const (
	// memoryShare is the part of the machine's memory, as a divisor, within which the
	// garbage collector tries to keep shoal itself. Guests have the rest.
	memoryShare = 4
	// memoryFloor is what it may have on the smallest machine, in bytes.
	memoryFloor = 512 << 20
)

// limitMemory sets the soft limit of this process's memory, unless the operator has set it
// by GOMEMLIMIT.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(machineMemory()))
	}
}

func memoryLimit(machine int64) int64 { return max(machine/memoryShare, memoryFloor) }

// machineMemory returns how much memory this machine, or the container that it runs in,
// has, in bytes; 0 if that cannot be told.
func machineMemory() int64 {
	_, host, err := runtime.HostMemory()
	if err != nil {
		return 0
	}
	total := uint64(host)
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// Version 2 says "max" where there is no limit, version 1 a number that is too large.
		if limit, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64); err == nil {
			total = min(total, limit)
		}
	}
	return int64(total)
}
