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
	level := Note
	switch cfg.Runtimes {
	case config.RuntimeGvisor:
		return ok("not asked for: runtimes is gvisor")
	case config.RuntimeFirecracker:
		level = Fail
	}
	store := program.Open(cfg.Firecracker())
	programs, err := store.Programs()
	kernels, kernelErr := store.Kernels()
	if err = errors.Join(err, kernelErr); err != nil {
		return level.of(err)
	}
	if level == Note && len(programs) == 0 && len(kernels) == 0 {
		return ok("nothing is imported for them; guests run under gVisor")
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

// of describes an error of the catalogue by what it says and its fix.
func (l Level) of(err error) Result {
	var known *shoal.Error
	if errors.As(err, &known) {
		return l.because(known.Fix, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return l.because("", "%v", err)
}
