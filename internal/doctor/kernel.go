package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/google/nftables"
	"github.com/moby/sys/mountinfo"

	"shoal/internal/config"
)

func checkRoot(context.Context, *config.Config) Result {
	if uid := os.Geteuid(); uid != 0 {
		return Fail.because("run the command as root, or with sudo",
			"user ID is %d; namespaces, links and cgroups need root", uid)
	}
	return ok("running as root")
}

// checkKernel requires 5.10: older kernels lack system calls that the sandbox kernel's
// filters and pidfds use.
func checkKernel(context.Context, *config.Config) Result {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Warn.because("", "cannot read the version of the host's kernel: %v", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return Warn.because("", "cannot read the version of the host's kernel from %q", release)
	}
	if major < 5 || (major == 5 && minor < 10) {
		return Fail.because("use a distribution with Linux 5.10 or newer", "Linux %s is too old", release)
	}
	return ok("Linux %s", release)
}

// checkNamespaces starts a child in the namespaces that a guest gets.
func checkNamespaces(ctx context.Context, _ *config.Config) Result {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		return Fail.because("sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000 "+
			"user.max_net_namespaces=15000",
			"a process in new user, PID, network, mount, IPC and UTS namespaces does not start: %v", err)
	}
	return ok("user, PID, network, mount, IPC and UTS namespaces work")
}

func checkCgroups(context.Context, *config.Config) Result {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return Fail.because("mount /proc", "%v", err)
	}
	var v1, v2 bool
	for _, m := range mounts {
		v2 = v2 || m.FSType == "cgroup2"
		v1 = v1 || (m.FSType == "cgroup" && slices.Contains(strings.Split(m.VFSOptions, ","), "memory"))
	}
	switch {
	case v1:
		return ok("version 1 with the memory controller")
	case v2:
		data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if err == nil && strings.Contains(string(data), "memory") && strings.Contains(string(data), "cpu") {
			return ok("version 2 with the memory and cpu controllers")
		}
		return Fail.because("boot with cgroup_enable=memory, and delegate memory and cpu to this environment",
			"version 2 without the memory or the cpu controller")
	default:
		return Fail.because("mount -t cgroup2 none /sys/fs/cgroup",
			"no memory controller is mounted; limits cannot hold")
	}
}

func checkNftables(context.Context, *config.Config) Result {
	conn, err := nftables.New()
	if err == nil {
		_, err = conn.ListTables()
	}
	if err != nil {
		return Fail.because("modprobe nf_tables nft_chain_nat nft_masq nft_reject_ipv4 nft_limit nft_connlimit, or use a kernel that has them built in",
			"the host's kernel refuses nftables: %v", err)
	}
	return ok("the host's kernel has nftables")
}

// checkKVM creates a virtual machine: the device may exist and still be unusable.
// checkKVM says whether there are virtual machines. Only gVisor's platform kvm needs them.
func checkKVM(_ context.Context, cfg *config.Config) Result {
	const kvmCreateVM = 0xAE01
	missing := func(format string, args ...any) Result {
		if cfg.GvisorPlatform == "kvm" {
			return Fail.because("leave gvisor-platform at systrap", format, args...)
		}
		return Note.because("", format+"; guests run under gVisor, which needs none", args...)
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return missing("no /dev/kvm")
	} else if err != nil {
		return missing("/dev/kvm cannot be opened (%v)", err)
	}
	defer f.Close()
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), kvmCreateVM, 0)
	if errno != 0 {
		return missing("/dev/kvm cannot create a virtual machine (%v)", errno)
	}
	unix.Close(int(fd))
	if cfg.GvisorPlatform == "kvm" {
		return ok("/dev/kvm works")
	}
	return ok("/dev/kvm works; guests run under gVisor without it")
}
