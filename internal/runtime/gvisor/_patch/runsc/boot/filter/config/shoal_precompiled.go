// This file is added to package config when the sandbox kernel is built (scripts/gvisor).
package config

import "slices"

// Precompiled chooses the programs to compile by their names, as all of them take minutes; nil is all.
var Precompiled func(name string) bool

func onlyPrecompiled(all []Options) []Options {
	if Precompiled == nil {
		return all
	}
	return slices.DeleteFunc(all, func(opt Options) bool { return !Precompiled(opt.ConfigKey()) })
}
