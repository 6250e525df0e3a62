//go:build !amd64

package kernel

import "gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"

// seccompPrograms exist for amd64 only; on other platforms each start compiles its filter.
var seccompPrograms, goferPrograms []precompiledseccomp.Program
