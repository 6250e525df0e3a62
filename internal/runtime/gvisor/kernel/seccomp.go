package kernel

import (
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/runsc/boot/filter"
	goferfilter "gvisor.dev/gvisor/runsc/fsgofer/filter"

	"shoal/internal/runtime/gvisor/pin"
)

//go:generate go run ./seccompgen seccomp_programs_amd64.go

// kernelFilters is gVisor's table of precompiled filters, which is empty in its importable
// branch. TestSeccompTable fails if the table moves.
//
//go:linkname kernelFilters gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var kernelFilters map[string]precompiledseccomp.Program

// goferFilters is the same of gofers.
//
//go:linkname goferFilters gvisor.dev/gvisor/runsc/fsgofer/filter.precompiledPrograms
var goferFilters map[string]precompiledseccomp.Program

// kernelVersion is what a checkpoint records and a restore compares. If it were not set, it
// would be VERSION_MISSING, and incompatible checkpoints would match.
//
//go:linkname kernelVersion gvisor.dev/gvisor/runsc/version.version
var kernelVersion string

func init() {
	kernelVersion = pin.Version
	filter.ListPrecompiled() // creates the table; later calls leave it unchanged
	for _, p := range seccompPrograms {
		kernelFilters[p.Name] = p
	}
	goferfilter.ListPrecompiled()
	for _, p := range goferPrograms {
		goferFilters[p.Name] = p
	}
}
