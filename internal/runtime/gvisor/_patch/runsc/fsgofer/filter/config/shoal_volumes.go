// This file is added to package config when the sandbox kernel is built (scripts/gvisor). With it, the
// filter of the gofers that serve volumes can be compiled ahead.
package config

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/seccomp"
	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
)

// volumeCalls are the system calls that gVisor's own gofers do not make: locks, and what the
// patches of Shoal change.
var volumeCalls = seccomp.MakeSyscallRules(map[uintptr]seccomp.SyscallRule{
	unix.SYS_EVENTFD2: seccomp.PerArg{seccomp.EqualTo(0), seccomp.EqualTo(unix.EFD_CLOEXEC)},
	unix.SYS_FLOCK:    seccomp.MatchAll{},
	unix.SYS_FCNTL: seccomp.Or{
		seccomp.PerArg{seccomp.AnyValue{}, seccomp.EqualTo(unix.F_OFD_SETLK)},
		seccomp.PerArg{seccomp.AnyValue{}, seccomp.EqualTo(unix.F_OFD_GETLK)},
	},
})

// OfVolumes are the options of a gofer that serves a volume.
func OfVolumes(cgoEnabled bool) Options {
	return Options{LisafsNeeded: true, CgoEnabled: cgoEnabled, ExtraRules: []seccomp.SyscallRules{volumeCalls}}
}

// PrecompileVolumes compiles the filter of gofers that serve volumes, in a program without cgo.
func PrecompileVolumes() (precompiledseccomp.Program, error) {
	opt := OfVolumes(false)
	var names []string
	for name := range opt.Vars() {
		names = append(names, name)
	}
	return precompiledseccomp.Precompile(opt.ConfigKey(), names, func(vars precompiledseccomp.Values) *seccomp.Program {
		allowed, denied := rules(opt, vars)
		return &seccomp.Program{RuleSets: []seccomp.RuleSet{
			{Rules: denied.Copy()},
			{Rules: allowed.Copy(), Action: seccomp.Allow},
		}}
	})
}
