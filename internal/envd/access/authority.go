package access

import (
	"bytes"
	"os"
	"strings"
)

// hashVariable carries the host's authority to change the token.
const hashVariable = "E2B_ACCESS_TOKEN_HASH"

// Authority is what the host says about the sandbox outside of the guest's
// reach: variables in the environment of the container's specification. On a
// restore the kernel serves the new specification, while the environment of
// this process is still the old one; so the file goes first, and it is read
// anew each time.
type Authority struct {
	Path   string              // "/proc/gvisor/spec_environ"; need not exist
	Lookup func(string) string // the environment of this process
}

// NewAuthority reads the platform's file, or else the process environment.
func NewAuthority() Authority {
	return Authority{Path: "/proc/gvisor/spec_environ", Lookup: os.Getenv}
}

// Facts are the host's statements; an empty string says nothing.
type Facts struct {
	TokenHash  string // lower-case hex SHA-512
	Sandbox    string
	SandboxID  string
	TemplateID string
	// BootHash is set in a guest that was started before it was known for which
	// sandbox: the SHA-256, in hex, of the secret that says so in /init.
	BootHash string
}

// Read returns the present facts.
func (a Authority) Read() Facts {
	lookup := a.Lookup
	// A kernel that lost the specification serves an empty file.
	if data, err := os.ReadFile(a.Path); err == nil && len(data) > 0 {
		vars := parseEnvironment(data)
		lookup = func(key string) string { return vars[key] }
	}
	return Facts{
		TokenHash:  strings.ToLower(lookup(hashVariable)),
		Sandbox:    lookup("E2B_SANDBOX"),
		SandboxID:  lookup("E2B_SANDBOX_ID"),
		TemplateID: lookup("E2B_TEMPLATE_ID"),
		BootHash:   strings.ToLower(lookup("SHOAL_BOOT_HASH")),
	}
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
