package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// guestOf returns the ID of a sandbox's current guest. It cannot be derived from the
// sandbox's, because the guest or its kernel may have been started ahead.
func (s *server) guestOf(sb sandbox) (string, error) {
	data, err := os.ReadFile(filepath.Join(s.RunDir, "sandboxes", sb.ID+".json"))
	if err != nil {
		return "", err
	}
	var record struct{ GuestID string }
	return record.GuestID, json.Unmarshal(data, &record)
}

// privateOf sums the private pages of a guest's kernel and stubs, in bytes. Stubs are processes of
// which several have one address space, and its pages are there once.
func privateOf(group string) (total int64) {
	data, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	var seen []int
	for _, field := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(field)
		if err != nil || slices.ContainsFunc(seen, func(other int) bool { return shareMemory(pid, other) }) {
			continue
		}
		seen = append(seen, pid)
		total += sumKB("/proc/"+field+"/smaps_rollup", "Private_Clean:", "Private_Dirty:")
	}
	return total
}

// shareMemory reports whether two processes have one address space.
func shareMemory(one, other int) bool {
	const vm = 1 // KCMP_VM of kcmp(2), which returns 0 for one and the same
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(one), uintptr(other), vm, 0, 0, 0)
	return errno == 0 && order == 0
}

// guestGroups returns the cgroups of the guests whose IDs match.
func guestGroups(pattern string) []string {
	for _, root := range []string{"/sys/fs/cgroup/memory/bench/", "/sys/fs/cgroup/bench/"} {
		if groups, _ := filepath.Glob(root + pattern); len(groups) > 0 {
			return groups
		}
	}
	return nil
}

func residentMemory(pid int) int64 { return sumKB(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") }

// sumKB adds the values of named "kB" lines, in bytes.
func sumKB(file string, names ...string) int64 {
	data, _ := os.ReadFile(file)
	var total int64
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		for _, name := range names {
			if len(fields) > 1 && fields[0] == name {
				kb, _ := strconv.ParseInt(fields[1], 10, 64)
				total += kb << 10
			}
		}
	}
	return total
}
