package program

import (
	"strings"

	"shoal/internal/runtime/firecracker/program/bootline"
	"shoal/internal/shoal"
)

// bootFailures are what Firecracker and guest kernels say when a guest does not come up, the most
// telling first.
var bootFailures = []struct {
	says []string // all of them, in lower case
	kind *shoal.Kind
	what string
}{
	{[]string{"cannot load kernel"}, shoal.ErrFirecrackerLoadKernel, "Firecracker cannot load the kernel"},
	{[]string{"failed to load elf kernel"}, shoal.ErrFirecrackerLoadKernel, "Firecracker cannot load the kernel"},
	{[]string{"invalid elf magic number"}, shoal.ErrFirecrackerLoadKernel, "Firecracker cannot load the kernel"},
	{[]string{"cannot open root device"}, shoal.ErrFirecrackerNoDisk, "the guest's kernel does not find its disk"},
	{[]string{"unable to mount root fs"}, shoal.ErrFirecrackerNoDisk, "the guest's kernel does not find its disk"},
	{[]string{NoDiskLine}, shoal.ErrFirecrackerNoDisk, "the guest's kernel does not find its disk"},
	{[]string{"requested init", "failed (error -2)"}, shoal.ErrFirecrackerNoInit, "the guest's kernel finds no first program"},
	{[]string{"no working init found"}, shoal.ErrFirecrackerNoInit, "the guest's kernel finds no first program"},
	{[]string{"attempted to kill init"}, shoal.ErrFirecrackerInitEnded, "the guest's first program has ended"},
	{[]string{"failed to allocate hugepages"}, shoal.ErrFirecrackerHugePages, "the host has too few huge pages"},
	{[]string{"error creating kvm object"}, shoal.ErrFirecrackerKVM, "Firecracker cannot use /dev/kvm"},
	{[]string{"no free nbd device"}, shoal.ErrFirecrackerNBDFull, "the guest's disk cannot be attached"},
	{[]string{"nbd module is not loaded"}, shoal.ErrFirecrackerNBD, "the guest's disk cannot be attached"},
	{[]string{"open tap device failed"}, shoal.ErrFirecrackerTap, "Firecracker cannot open the guest's network device"},
}

// NoDiskLine is what Shoal's init says when there is no disk.
const NoDiskLine = "init: " + bootline.NoDisk

// Explain finds what is known of a failure in what Firecracker answered, logged, or the guest's
// console said; err is returned as it is if nothing is.
func Explain(err error, console string) error {
	if err == nil {
		return nil
	}
	text := strings.ToLower(err.Error() + "\n" + console)
	for _, f := range bootFailures {
		found := true
		for _, says := range f.says {
			found = found && strings.Contains(text, strings.ToLower(says))
		}
		if found {
			return f.kind.Wrap(err, "%s", f.what)
		}
	}
	return err
}
