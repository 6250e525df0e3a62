// Package pin names the version of gVisor that Shoal is built with.
package pin

// Version is the module version of gvisor.dev/gvisor. Checkpoints are bound to it. A test
// compares it with go.mod.
const Version = "v0.0.0-20260905035102-160fafc42237"

// Argv0 is how runsc names the sandbox kernel's process.
const Argv0 = "runsc-sandbox"

// GoferArgv0 is how a process is named that serves a volume's directory to a sandbox kernel. Its
// arguments are the directory, the guest's ID, and how many bytes may be in it.
const GoferArgv0 = "shoal-gofer"
