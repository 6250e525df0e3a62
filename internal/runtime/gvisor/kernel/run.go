// Package kernel is gVisor's sandbox kernel as a separate program: the host's side of a
// guest. It starts faster than shoal would, and a copy of this exact kernel can be kept for
// as long as a snapshot needs it.
package kernel

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"gvisor.dev/gvisor/pkg/cpuid"
	"gvisor.dev/gvisor/pkg/sentry/kernelmem"
	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"

	"shoal/internal/runtime/gvisor/pin"
)

// bootHeapBytes is how far the kernel's heap may grow before the collector runs while it
// boots; a boot allocates less.
const bootHeapBytes = 64 << 20

// linkedDynamically is set by the build with cgo.
var linkedDynamically bool

// Run turns this process into a sandbox kernel, its unmount helper, or the gofer of a volume,
// if it was executed as one, and then never returns. In any other program it must be the first thing that main
// calls.
func Run() {
	isKernel := os.Args[0] == pin.Argv0
	isGofer := os.Args[0] == pin.GoferArgv0 && len(os.Args) == 4
	isUnmount := len(os.Args) > 1 && os.Args[1] == "umount"
	if !isKernel && !isGofer && !isUnmount {
		return
	}
	if linkedDynamically {
		fmt.Fprintln(os.Stderr,
			"the sandbox kernel executes itself where there are no shared libraries: build it with CGO_ENABLED=0")
		os.Exit(1)
	}
	if isGofer {
		limit, err := strconv.ParseInt(os.Args[3], 10, 64)
		if err == nil {
			err = runGofer(os.Args[1], limit)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the gofer of a volume:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if isKernel {
		relaxCollector()
	}
	if isKernel && !slices.Contains(os.Args, "--setup-root") {
		// It runs later anyway, but there it would delay the start. With --setup-root the
		// program only makes its root and then executes itself again.
		go cpuid.Initialize()
	}
	cli.Run(nil, map[util.SubCommand]string{
		new(sentrycmd.Boot):   "internal",
		new(sentrycmd.Umount): "internal",
	}, nil)
}

// relaxCollector keeps the garbage collector from running during the boot, and afterwards
// frees what the boot allocated.
func relaxCollector() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(bootHeapBytes)
	time.AfterFunc(2*time.Second, func() {
		debug.SetMemoryLimit(1 << 62)
		kernelmem.Start()
		debug.FreeOSMemory()
	})
}
