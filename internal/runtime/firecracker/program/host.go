package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/block"
	"shoal/internal/runtime/firecracker/page"
	"shoal/internal/shoal"
)

// Host is the devices and settings of a machine that microVMs need; the zero value is this one's.
type Host struct {
	KVM       string // /dev/kvm
	Tun       string // /dev/net/tun
	HugePages string // the directory of the host's pages of 2 MiB, in /sys
}

func (h Host) orThis() Host {
	if h.KVM == "" {
		h.KVM = "/dev/kvm"
	}
	if h.Tun == "" {
		h.Tun = "/dev/net/tun"
	}
	if h.HugePages == "" {
		h.HugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB"
	}
	return h
}

// ioctls of /dev/kvm that ask for its version, and make a virtual machine and a processor of it.
const (
	kvmGetVersion = 0xAE00
	kvmCreateVM   = 0xAE01
	kvmCreateVCPU = 0xAE41
	kvmVersion    = 12
)

// CheckKVM makes a virtual machine with a processor: the device may exist and still be unusable.
// Errors are shoal.ErrFirecrackerKVM.
func (h Host) CheckKVM() error {
	path := h.orThis().KVM
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return shoal.ErrFirecrackerKVM.New("no %s%s", path, virtualization())
	case err != nil:
		return shoal.ErrFirecrackerKVM.New("%s cannot be opened (%v)", path, reason(err))
	}
	defer f.Close()
	version, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), kvmGetVersion, 0)
	if errno != 0 || version != kvmVersion {
		return shoal.ErrFirecrackerKVM.New("%s is not KVM's (version %d, %v)", path, version, errno)
	}
	vm, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), kvmCreateVM, 0)
	if errno != 0 {
		return shoal.ErrFirecrackerKVM.New("%s cannot create a virtual machine (%v)", path, errno)
	}
	defer unix.Close(int(vm))
	cpu, _, errno := unix.Syscall(unix.SYS_IOCTL, vm, kvmCreateVCPU, 0)
	if errno != 0 {
		return shoal.ErrFirecrackerKVM.New("%s cannot create a processor (%v)", path, errno)
	}
	return unix.Close(int(cpu))
}

// virtualization says whether the processor offers it.
func virtualization() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for _, flag := range strings.Fields(string(data)) {
		if flag == "vmx" || flag == "svm" {
			return fmt.Sprintf("; the processor has virtualization (%s)", flag)
		}
	}
	return "; the processor offers no virtualization (vmx or svm)"
}

func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// CheckTun says whether tap devices can be made. Errors are shoal.ErrFirecrackerTap.
func (h Host) CheckTun() error {
	path := h.orThis().Tun
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return shoal.ErrFirecrackerTap.New("%s cannot be opened (%v)", path, reason(err))
	}
	return f.Close()
}

// CheckDisks says whether the host's kernel attaches disks over NBD, by attaching a small one for a moment:
// the module may be there and have no device left. Errors are shoal.ErrFirecrackerNBD, with which disks are
// files, and shoal.ErrFirecrackerNBDFull, with which no guest starts.
func (Host) CheckDisks(ctx context.Context) error { return explainDisk(block.NewKernel().Try(ctx)) }

func explainDisk(err error) error {
	var unavailable *block.UnavailableError
	switch {
	case !errors.As(err, &unavailable):
		return err
	case unavailable.Full:
		return shoal.ErrFirecrackerNBDFull.New("no disk can be attached: %s", unavailable.Cause)
	}
	return shoal.ErrFirecrackerNBD.New("disks are copied as files: %s", unavailable.Cause)
}

// CheckMemory says whether the host's kernel lets a program serve the memory of another page by page. Without,
// restores read it from a file. Errors are shoal.ErrFirecrackerUserfault.
func (Host) CheckMemory() error {
	if err := page.Supported(); err != nil {
		return shoal.ErrFirecrackerUserfault.Wrap(err, "restored memory is read from files")
	}
	return nil
}

// CheckHugePages says whether the host has so many MiB in pages of 2 MiB free. Errors are
// shoal.ErrFirecrackerHugePages.
func (h Host) CheckHugePages(needMB int64) error {
	dir := h.orThis().HugePages
	if _, err := os.Stat(dir); err != nil {
		return shoal.ErrFirecrackerHugePages.New("the host's kernel has no pages of 2 MiB")
	}
	free := 2 * (readCount(filepath.Join(dir, "free_hugepages")) - readCount(filepath.Join(dir, "resv_hugepages")))
	if free < needMB {
		return shoal.ErrFirecrackerHugePages.New("%d MiB in pages of 2 MiB are needed, and %d are free", needMB, free)
	}
	return nil
}

func readCount(path string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n
}
