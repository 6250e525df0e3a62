// Package gvisor runs guests under gVisor, driven in-process: the sandbox kernel is a
// separate program (see package kernel), commanded over its control socket. Only these two
// packages touch the gVisor internals that Shoal uses.
//
// The driver calls runsc's sandbox package directly, one layer below its container package.
// That layer takes the images and the backing file of the writable layer as open files, so
// no gofer process is needed, and it keeps no state files of its own. Shoal's changes to
// gVisor are in _patch.
package gvisor

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	glog "gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/flag"
	"gvisor.dev/gvisor/runsc/specutils"

	"shoal/internal/runtime"
)

// Options configures the driver.
type Options struct {
	// RunDir holds control sockets and the shared empty directory and network
	// namespace. It must be on tmpfs: a reboot must empty it.
	RunDir string
	// CgroupParent is the cgroup under which each guest gets its own, relative to the root
	// of every controller.
	CgroupParent string
	// Kernel is the path of the sandbox kernel's program, in a directory named after its
	// content hash, beside those of other kernels. The kernel runs as nobody, so everybody
	// must be able to execute it. Empty means this program itself, whose main must then
	// call kernel.Run.
	Kernel string
	// Platform is how programs run: systrap, or kvm, which needs /dev/kvm. Empty is systrap.
	Platform string
	// DebugLogDir is where every kernel writes its log. Empty means no log.
	DebugLogDir string
}

// Driver runs guests under gVisor.
type Driver struct {
	conf    *config.Config
	cgroups cgroups
	log     *slog.Logger
	opts    Options

	// creating guards process-wide state that runsc uses when it creates a guest:
	// os.Stdin, os.Stdout, os.Stderr and the kernel's path. No other lock is taken while it
	// is held.
	creating sync.Mutex
}

var _ runtime.Runtime = (*Driver)(nil)

const (
	guestIDLength    = 30  // the longest guest ID in use: a sandbox's ID plus 9
	socketPathLength = 107 // the host kernel's limit
)

// New prepares the run directory and the parent cgroups. Afterwards this process's
// os.Stdin, os.Stdout and os.Stderr are the null device, because they are a guest's files
// whenever one is created: whoever wrote to os.Stderr then would write to its console.
// Loggers keep their own handles.
func New(opts Options, log *slog.Logger) (*Driver, error) {
	silenceKernelLog()
	if longest := len(opts.RunDir) + len("/runsc-.sock") + guestIDLength; longest > socketPathLength {
		return nil, fmt.Errorf("the run directory %s is too long: a socket below it "+
			"would have %d characters of at most %d", opts.RunDir, longest, socketPathLength)
	}
	if opts.Kernel != "" {
		if err := checkReachable(opts.Kernel); err != nil {
			return nil, err
		}
		specutils.ExePath = opts.Kernel
	}
	if err := detachStdio(); err != nil {
		return nil, err
	}
	for _, dir := range []string{opts.RunDir, filepath.Join(opts.RunDir, emptyDir)} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("make the runtime directory: %w", err)
		}
	}
	if err := ensureEmptyNetns(filepath.Join(opts.RunDir, emptyNetns)); err != nil {
		return nil, fmt.Errorf("make the empty network namespace: %w", err)
	}
	groups, err := newCgroups(opts.CgroupParent)
	if err != nil {
		return nil, err
	}
	conf, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("configure gVisor: %w", err)
	}
	holdDescriptorTable()
	return &Driver{conf: conf, cgroups: groups, log: log, opts: opts}, nil
}

func newConfig(opts Options) (*config.Config, error) {
	fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
	config.RegisterFlags(fs)
	args := []string{
		"--root=" + opts.RunDir,
		"--network=sandbox",
		"--directfs=false",
		"--host-settings=ignore",
		"--in-sandbox-cgroup=v2",
		"--net-raw",
		"--allow-suid",
		"--sidecar-usage-policy=LEGACY_DEPRECATED_SLOW_EMBEDDED_FALLBACK",
		"--sidecar-release-enforcement-policy=NEVER",
	}
	if opts.Platform != "" {
		args = append(args, "--platform="+opts.Platform)
	}
	if opts.DebugLogDir != "" {
		args = append(args, "--debug", "--debug-log="+opts.DebugLogDir+"/")
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return config.NewFromFlags(fs)
}

// hostNetworkConfig is passed to StartRoot when the kernel already has its link: on the
// parent's side "host" only means that runsc copies no interface.
func hostNetworkConfig(conf *config.Config) *config.Config {
	c := *conf
	c.Network = config.NetworkHost
	return &c
}

var silenceOnce sync.Once

// silenceKernelLog drops what runsc logs in this process; runsc returns its errors anyway.
func silenceKernelLog() {
	silenceOnce.Do(func() { glog.SetTarget(discardEmitter{}) })
}

var detachOnce sync.Once

func detachStdio() (err error) {
	detachOnce.Do(func() {
		var null *os.File
		if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			os.Stdin, os.Stdout, os.Stderr = null, null, null
		}
	})
	return err
}

// tableSize is the initial size of a kernel's descriptor table. A table that has to grow
// while the kernel boots would stall it.
const tableSize = 256

// holdDescriptorTable occupies the last number of a table of tableSize; children inherit
// the size, not the descriptor.
func holdDescriptorTable() {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// Best effort: if the number is in use, the table has this size already.
	_ = unix.Dup3(fd, tableSize-1, unix.O_CLOEXEC)
}

// checkReachable reports early what would fail every start: the kernel runs as nobody, who
// must be able to pass every directory on the path.
func checkReachable(path string) error {
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("the sandbox kernel: %w", err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("the sandbox kernel %s runs as nobody, who cannot pass %s; "+
				"run `chmod o+x %s` or choose another directory", path, dir, dir)
		}
		if dir == "/" {
			return nil
		}
	}
}
