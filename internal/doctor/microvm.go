package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"shoal/internal/config"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/shoal"
)

// checkMicroVMs says whether guests can run under Firecracker. Only runtimes=firecracker fails
// without; with auto, guests run under gVisor then.
func checkMicroVMs(_ context.Context, cfg *config.Config) Result {
	return microVMs(cfg, program.Host{})
}

func microVMs(cfg *config.Config, host program.Host) Result {
	level, unwanted := microVMsWanted(cfg)
	if unwanted != "" {
		return ok("%s", unwanted)
	}
	store := program.Open(cfg.Firecracker())
	programs, err := store.Programs()
	kernels, kernelErr := store.Kernels()
	if err = errors.Join(err, kernelErr); err != nil {
		return level.of(err)
	}
	for _, p := range programs {
		err = errors.Join(err, p.Verify())
	}
	for _, k := range kernels {
		err = errors.Join(err, k.Verify())
	}
	switch {
	case err != nil:
	case len(programs) == 0:
		err = shoal.ErrFirecrackerMissing.New("no build of Firecracker is imported")
	case len(kernels) == 0:
		err = shoal.ErrFirecrackerKernelMissing.New("no guest kernel is imported")
	default:
		err = errors.Join(host.CheckKVM(), host.CheckTun())
	}
	if err != nil {
		return level.of(err)
	}
	found := fmt.Sprintf("Firecracker %s with the kernel %s; /dev/kvm works", programs[0].Name, kernels[0].Name)
	if programs[0].Filter == program.FilterNone {
		return Warn.because("import a release, which has one: `shoal firecracker download "+programs[0].Version+"`",
			"%s, but this build has no default filter of system calls", found)
	}
	return ok("%s", found)
}

// microVMsWanted is how severe it is if guests cannot run under Firecracker; or why nobody wants them to.
func microVMsWanted(cfg *config.Config) (level Level, unwanted string) {
	switch cfg.Runtimes {
	case config.RuntimeGvisor:
		return OK, "not asked for: runtimes is gvisor"
	case config.RuntimeFirecracker:
		return Fail, ""
	}
	store := program.Open(cfg.Firecracker())
	programs, err := store.Programs()
	kernels, kernelErr := store.Kernels()
	if len(programs) == 0 && len(kernels) == 0 && errors.Join(err, kernelErr) == nil {
		return OK, "nothing is imported for them; guests run under gVisor"
	}
	return Note, ""
}

// checkMicroVMDisks says how guests get their disks. Without NBD all works, and takes longer and more room.
func checkMicroVMDisks(ctx context.Context, cfg *config.Config) Result {
	level, unwanted := microVMsWanted(cfg)
	if unwanted != "" {
		return ok("%s", unwanted)
	}
	err := program.Host{}.CheckDisks(ctx)
	switch {
	case err == nil:
		return ok("served over NBD, which works")
	case shoal.ErrFirecrackerNBD.Matches(err):
		level = min(level, Warn)
	}
	return level.of(err)
}

// checkMicroVMMemory says how guests that are restored get their memory.
func checkMicroVMMemory(_ context.Context, cfg *config.Config) Result {
	level, unwanted := microVMsWanted(cfg)
	if unwanted != "" {
		return ok("%s", unwanted)
	}
	if err := (program.Host{}).CheckMemory(); err != nil {
		return min(level, Warn).of(err)
	}
	return ok("served page by page by userfaultfd, which works")
}

// checkMicroVMVolumes says whether guests can have volumes.
func checkMicroVMVolumes(_ context.Context, cfg *config.Config) Result {
	level, unwanted := microVMsWanted(cfg)
	if unwanted != "" {
		return ok("%s", unwanted)
	}
	kernels, err := program.Open(cfg.Firecracker()).Kernels()
	switch {
	case err != nil:
		return level.of(err)
	case len(kernels) == 0:
		return ok("no guest kernel is imported")
	case !kernels[0].FUSE():
		return min(level, Warn).because("import a kernel with CONFIG_FUSE_FS, as Debian's; one that was imported before Shoal "+
			"looked for it is to be removed and imported again: `shoal kernel rm`, `shoal kernel from-debian`",
			"guests have none: the kernel %s has no FUSE, or was not looked at for it", kernels[0].Name)
	}
	return ok("served over FUSE, which the kernel %s has", kernels[0].Name)
}

// of describes an error of the catalogue by what it says and its fix.
func (l Level) of(err error) Result {
	var known *shoal.Error
	if errors.As(err, &known) {
		return l.because(known.Fix, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return l.because("", "%v", err)
}
