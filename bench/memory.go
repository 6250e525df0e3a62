package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// privateOf sums the private pages of a guest's kernel and stubs, in bytes.
func privateOf(group string) (total int64) {
	data, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	for _, pid := range strings.Fields(string(data)) {
		total += sumKB("/proc/"+pid+"/smaps_rollup", "Private_Clean:", "Private_Dirty:")
	}
	return total
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
