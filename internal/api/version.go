package api

import (
	"strconv"
	"strings"
)

// atLeast compares a daemon version such as "0.6.13" or "v0.6.13-dev". What is
// not a version is older than everything.
func atLeast(version string, want ...int) bool {
	core, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	parts := strings.Split(core, ".")
	for i, w := range want {
		if i >= len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return false
		}
		if n != w {
			return n > w
		}
	}
	return true
}
