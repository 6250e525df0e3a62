// Package firecracker runs guests as microVMs by Firecracker. Each has a Firecracker of its own, in a
// jail that its jailer makes: a root with nothing but the guest's files, a user of its own, a cgroup
// and namespaces. It is commanded by its API (package api), and the guest by the first program that
// Shoal gives it (packages control and guestinit). Programs and kernels are those that the machine's
// operator has imported (package program).
//
// A guest's root disk is an ext4 file system made from the same images that other runtimes use. A
// checkpoint has Firecracker's state, the guest's memory, and what the guest has written to its disk.
package firecracker

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/block"
	"shoal/internal/runtime/firecracker/page"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/shoal"
)

// Name is the runtime's, as records and templates have it.
const Name = "firecracker"

// Options configures the driver.
type Options struct {
	// RunDir has what is known of each guest that runs. It must be on tmpfs: a reboot must empty it.
	RunDir string
	// BaseDir has the file systems that disks begin with, one for each root and size. It is best
	// on the file system of Spec.UpperDir, where files are then linked and not copied.
	BaseDir string
	// CgroupParent is the cgroup under which each guest gets its own, relative to the root. No
	// other runtime may use it.
	CgroupParent string
	Programs     *program.Store
	// Init is the program of package guestinit, for the guests' processor.
	Init []byte
	// Rates bounds what each guest may do with its devices.
	Rates Rates
	// Patience bounds how long the first program of a guest may take to answer; 0 is 20 seconds. A
	// boot may take a minute more.
	Patience time.Duration
	// Host is the host's devices; the zero value is this one's.
	Host program.Host
	// Attendant is the path of the program cmd/attendant, which serves what guests have on the host.
	Attendant string
	// Files has disks be files, and memory be read from them, as where the host's kernel has no NBD.
	Files bool
}

// Rates are bounds in bytes a second; 0 is none.
type Rates struct {
	Network int64 // in each direction
	Disk    int64
}

const (
	patience = 20 * time.Second
	bootTime = time.Minute // more than that
)

// Driver runs guests by Firecracker.
type Driver struct {
	opts    Options
	log     *slog.Logger
	program program.Program // of guests that start from now on
	kernel  program.Kernel  // likewise
	groups  cgroups
	users   users
	bases   bases

	attended bool // guests' disks are served by attendants
	served   bool // the memory of restored guests is, too
}

var _ runtime.Runtime = (*Driver)(nil)

// New prepares the driver. A machine that cannot run microVMs is an error of the catalogue that says
// why: shoal.ErrFirecrackerKVM, ErrFirecrackerTap, ErrFirecrackerMissing or ErrFirecrackerKernelMissing.
func New(opts Options, log *slog.Logger) (*Driver, error) {
	programs, err := opts.Programs.Programs()
	if err != nil {
		return nil, err
	}
	kernels, err := opts.Programs.Kernels()
	if err != nil {
		return nil, err
	}
	switch {
	case len(programs) == 0:
		return nil, shoal.ErrFirecrackerMissing.New("no build of Firecracker is imported")
	case len(kernels) == 0:
		return nil, shoal.ErrFirecrackerKernelMissing.New("no guest kernel is imported")
	case len(opts.Init) == 0:
		return nil, errors.New("this binary was built without the first program of microVMs; build it with `make build`")
	}
	if err := errors.Join(opts.Host.CheckKVM(), opts.Host.CheckTun()); err != nil {
		return nil, err
	}
	d, err := Open(opts, log)
	if err != nil {
		return nil, err
	}
	d.program, d.kernel = programs[0], kernels[0]
	d.lookForAttendants()
	return d, nil
}

// Open prepares a driver that starts no guests and takes over and ends those that there are. It needs
// nothing of the machine that guests need.
func Open(opts Options, log *slog.Logger) (*Driver, error) {
	opts.Patience = cmp.Or(opts.Patience, patience)
	d := &Driver{opts: opts, log: log, users: users{dir: filepath.Join(opts.RunDir, usersDir)}, bases: bases{dir: opts.BaseDir}}
	for _, dir := range []string{opts.RunDir, d.users.dir, opts.BaseDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make a directory of microVMs: %w", err)
		}
	}
	if err := d.bases.removeUnfinished(); err != nil {
		return nil, fmt.Errorf("remove an unfinished disk: %w", err)
	}
	var err error
	d.groups, err = newCgroups(opts.CgroupParent)
	return d, err
}

// lookForAttendants finds out what of guests can be served by attendants here.
func (d *Driver) lookForAttendants() {
	if d.opts.Files {
		return
	}
	if err := block.NewKernel().Check(); err != nil {
		d.log.Warn("the disks of microVMs are copied as files", "error", err)
		return
	}
	d.attended = true
	if err := page.Supported(); err != nil {
		d.log.Warn("the memory of microVMs is read from files", "error", err)
		return
	}
	d.served = true
}

// Close removes what the driver has made for all guests; none may run.
func (d *Driver) Close() error {
	return errors.Join(d.groups.removeParent(), os.RemoveAll(d.opts.RunDir))
}

// Maker is what takes the checkpoints of guests that start now. Its kernel names the build of
// Firecracker too: both run the guest.
func (d *Driver) Maker() runtime.Maker {
	return runtime.Maker{Runtime: Name, Version: d.program.Name, Kernel: kernelName(d.program, d.kernel)}
}

func kernelName(p program.Program, k program.Kernel) string { return p.Name + "/" + k.Name }

// Volumes tells whether guests that start now have volumes: Firecracker has no file system that host and guest
// share, but the guest's kernel may have FUSE.
func (d *Driver) Volumes() bool { return d.kernel.FUSE() }

// Fits tells whether the build of Firecracker that took a checkpoint is here. The guest's kernel is
// in its memory.
func (d *Driver) Fits(made runtime.Maker) error {
	if made.Runtime != Name {
		return fmt.Errorf("%w: it needs %s", runtime.ErrUnfit, made.Runtime)
	}
	if _, err := d.opts.Programs.Program(made.Version); err != nil {
		return fmt.Errorf("%w: %w", runtime.ErrUnfit, err)
	}
	return nil
}

// programOf finds the build that runs a guest, by the kernel that its specification names.
func (d *Driver) programOf(s runtime.Spec) (program.Program, error) {
	name, _, _ := strings.Cut(s.Kernel, "/")
	if name == "" || name == d.program.Name {
		return d.program, nil
	}
	p, err := d.opts.Programs.Program(name)
	if err != nil {
		return p, fmt.Errorf("%w: %w", runtime.ErrUnfit, err)
	}
	return p, nil
}

func (d *Driver) kernelOf(s runtime.Spec) (program.Kernel, error) {
	_, name, _ := strings.Cut(s.Kernel, "/")
	if name == "" || name == d.kernel.Name {
		return d.kernel, nil
	}
	return d.opts.Programs.Kernel(name)
}

// RemoveKernels removes nothing: what an operator has imported is the operator's to remove.
func (d *Driver) RemoveKernels(func(kernel string) bool) (removed int, bytes int64, err error) {
	return 0, 0, nil
}

// RemoveRoots removes the bases of disks that are of no needed root and no guest's, and the first root file
// systems of kernels and programs that are not here any more.
func (d *Driver) RemoveRoots(needed []runtime.Root, before time.Time) (removed int, bytes int64, err error) {
	used, err := d.usedBases()
	if err != nil {
		return 0, 0, err
	}
	kernels, err := d.opts.Programs.Kernels()
	if err != nil {
		return 0, 0, err
	}
	for _, k := range kernels {
		used[d.initrdName(k)] = true
	}
	return d.bases.remove(func(name string) bool {
		room, _ := roomOf(name)
		return used[name] || slices.ContainsFunc(needed, func(r runtime.Root) bool { return baseName(r, room) == name })
	}, before)
}

// usedBases are those of the guests that there are.
func (d *Driver) usedBases() (map[string]bool, error) {
	used := map[string]bool{}
	records, err := filepath.Glob(filepath.Join(d.opts.RunDir, "*.json"))
	for _, path := range records {
		j, readErr := d.recorded(strings.TrimSuffix(filepath.Base(path), ".json"))
		if errors.Is(readErr, fs.ErrNotExist) {
			continue // it has just ended
		}
		if readErr != nil {
			return nil, readErr
		}
		used[j.Base] = true
	}
	return used, err
}
