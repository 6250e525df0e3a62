// Package gvisor runs guests under gVisor, driven in-process: the sandbox kernel
// is a program of its own (see package kernel), commanded over its control
// socket. Every gVisor internal that Shoal uses is touched here and there only.
//
// The driver calls runsc's sandbox package directly, one layer below its
// container package. That layer takes the images and the backing file of the
// writable layer as open files, so no gofer process is needed, and it keeps no
// state files of its own. What gVisor lacks is in _patch.
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
	// CgroupParent is the cgroup below which each guest gets its own, by name
	// relative to the root of every controller.
	CgroupParent string
	// Kernel is the path of the sandbox kernel's program, in a directory named by
	// its content hash, beside those of other kernels. It is executable by
	// everybody, for it runs as nobody. Empty means this very program, whose main must then call
	// kernel.Run.
	Kernel string
	// DebugLogDir makes every kernel write its log there. Empty means none.
	DebugLogDir string
}

// Driver runs guests under gVisor.
type Driver struct {
	conf    *config.Config
	cgroups cgroups
	log     *slog.Logger
	opts    Options

	// creating guards what runsc takes from the process as a whole when it creates
	// a guest: os.Stdout, os.Stderr and the kernel's path. Nothing is locked while
	// it is held.
	creating sync.Mutex
}

var _ runtime.Runtime = (*Driver)(nil)

const (
	guestIDLength    = 30  // of the longest guest ID in use: a sandbox's and 9 more
	socketPathLength = 107 // what the kernel takes
)

// New prepares the run directory and the parent cgroups. Afterwards this
// process's os.Stdin, os.Stdout and os.Stderr are the null device: runsc hands
// them to guests and changes their owner. Loggers keep handles of their own.
func New(opts Options, log *slog.Logger) (*Driver, error) {
	silenceKernelLog()
	if longest := len(opts.RunDir) + len("/runsc-.sock") + guestIDLength; longest > socketPathLength {
		return nil, fmt.Errorf("the run directory %s is too long: a socket below it would have %d characters of at most %d", opts.RunDir, longest, socketPathLength)
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
	if opts.DebugLogDir != "" {
		args = append(args, "--debug", "--debug-log="+opts.DebugLogDir+"/")
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return config.NewFromFlags(fs)
}

// hostNetworkConfig is what StartRoot is given when the link has been passed
// already: on the parent's side "host" only means that no interface is scraped.
func hostNetworkConfig(conf *config.Config) *config.Config {
	c := *conf
	c.Network = config.NetworkHost
	return &c
}

var silenceOnce sync.Once

// silenceKernelLog drops what runsc logs in this process; its errors are returned.
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

// tableSize is how many descriptors a kernel's table has from the start, so
// that it need not grow, and stall, while it boots.
const tableSize = 256

// holdDescriptorTable occupies the last number of a table of tableSize; children
// inherit the size, not the descriptor.
func holdDescriptorTable() {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// Best effort: the number may be in use, and then the table has its size.
	_ = unix.Dup3(fd, tableSize-1, unix.O_CLOEXEC)
}

// checkReachable says early what would fail every start: the kernel is executed
// as nobody, who needs every directory on the way.
func checkReachable(path string) error {
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("the sandbox kernel: %w", err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("the sandbox kernel %s runs as nobody, who cannot pass %s; run `chmod o+x %s` or choose another directory", path, dir, dir)
		}
		if dir == "/" {
			return nil
		}
	}
}
