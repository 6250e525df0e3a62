package access

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"shoal/internal/envdapi"
)

// Authority reads what the node states about the sandbox where the guest cannot change it:
// in the environment of the container's specification. After a restore the kernel serves
// the new specification, while this process still has its old environment. So the kernel's
// file comes first, and is read each time.
type Authority struct {
	Path   string              // as gvisorFile; need not exist
	Lookup func(string) string // the environment of this process
}

// gvisorFile is served by gVisor's kernel.
const gvisorFile = "/proc/gvisor/spec_environ"

// NewAuthority reads the platform's file, or else the process environment. In a machine of its own that file is
// of the first program, and root of the guest, who may do all there, could change it.
func NewAuthority() Authority {
	a := Authority{Path: gvisorFile, Lookup: os.Getenv}
	if _, err := os.Stat(a.Path); errors.Is(err, os.ErrNotExist) {
		a.Path = envdapi.EnvironmentFile
	}
	return a
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
