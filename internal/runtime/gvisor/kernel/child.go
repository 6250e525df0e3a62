// Package kernel is gVisor's sandbox kernel as a program of its own: what runs
// on the host side of a guest. Being separate from shoal it starts faster, and a
// copy of it can be kept for as long as a snapshot needs exactly this one.
package kernel

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"gvisor.dev/gvisor/pkg/cpuid"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"

	"shoal/internal/runtime/gvisor/pin"
)

// bootHeapBytes is how far the kernel's heap may grow before the collector runs
// while it boots; a boot allocates less.
const bootHeapBytes = 64 << 20

// runGCPercent lets the heap, of which an idle kernel has a few MiB, grow further
// between collections than Go's 100: packets pass through it.
const runGCPercent = 300

// linkedDynamically is set where the build tells.
var linkedDynamically bool

// Run turns this process into a sandbox kernel, or its unmount helper, if it was
// executed as one, and then never returns. In a program that is more than the
// kernel it must be the first thing that main does.
func Run() {
	isKernel := os.Args[0] == pin.Argv0
	isUnmount := len(os.Args) > 1 && os.Args[1] == "umount"
	if !isKernel && !isUnmount {
		return
	}
	if linkedDynamically {
		fmt.Fprintln(os.Stderr, "the sandbox kernel executes itself where no library is: build it with CGO_ENABLED=0")
		os.Exit(1)
	}
	if isKernel {
		relaxCollector()
		// Both run later anyway, where they would delay the start.
		go cpuid.Initialize()
		go seccheck.Initialize()
	}
	cli.Run(nil, map[util.SubCommand]string{
		new(sentrycmd.Boot):   "internal",
		new(sentrycmd.Umount): "internal",
	}, nil)
}

// relaxCollector keeps the garbage collector out of the boot, and then gives
// back what the boot left.
func relaxCollector() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(bootHeapBytes)
	time.AfterFunc(2*time.Second, func() {
		debug.SetGCPercent(runGCPercent)
		debug.SetMemoryLimit(1 << 62)
		debug.FreeOSMemory()
	})
}
