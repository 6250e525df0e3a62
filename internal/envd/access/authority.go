package access

import (
	"bytes"
	"os"
	"strings"

	"shoal/internal/envdapi"
)

// Authority reads what the node states about the sandbox where the guest cannot change it:
// in the environment of the container's specification. After a restore the kernel serves
// the new specification, while this process still has its old environment. So the kernel's
// file comes first, and is read each time.
type Authority struct {
	Path   string              // "/proc/gvisor/spec_environ"; need not exist
	Lookup func(string) string // the environment of this process
}

// NewAuthority reads the platform's file, or else the process environment.
func NewAuthority() Authority {
	return Authority{Path: "/proc/gvisor/spec_environ", Lookup: os.Getenv}
}

// Read returns what the node states now.
func (a Authority) Read() envdapi.Facts {
	lookup := a.Lookup
	// A kernel that lost the specification serves an empty file.
	if data, err := os.ReadFile(a.Path); err == nil && len(data) > 0 {
		vars := parseEnvironment(data)
		lookup = func(key string) string { return vars[key] }
	}
	return envdapi.ReadFacts(lookup)
}

// parseEnvironment takes entries that end with NUL or, as some kernels print
// them, with a newline.
func parseEnvironment(data []byte) map[string]string {
	separator := byte(0)
	if bytes.IndexByte(data, 0) < 0 {
		separator = '\n'
	}
	vars := map[string]string{}
	for entry := range bytes.SplitSeq(data, []byte{separator}) {
		key, value, ok := strings.Cut(strings.Trim(string(entry), "\r\n"), "=")
		if ok {
			vars[key] = value
		}
	}
	return vars
}
