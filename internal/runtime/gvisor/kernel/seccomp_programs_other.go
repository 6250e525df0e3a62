//go:build !amd64

package kernel

import "gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"

// seccompPrograms are made for amd64 only; elsewhere each start compiles its
// filter.
var seccompPrograms []precompiledseccomp.Program
