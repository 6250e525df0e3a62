package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/config"
	"shoal/internal/network"
)

const (
	minMemory = 1 << 30 // bytes; one sandbox of the base template and shoal itself
	minDisk   = 4 << 30 // bytes; the base template's package root and its image

	minDescriptors  = 4096      // some tens of sandboxes, with a few clients each
	goodDescriptors = 6 * 16384 // as many connections as the API and the proxy hold at most
)

func checkMemory(context.Context, *config.Config) Result {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Warn.because("", "%v", err)
	}
	total := int64(info.Totalram) * int64(info.Unit)
	if total < minMemory {
		return Warn.because("use a machine with at least 1 GiB", "%d MiB of memory", total>>20)
	}
	return ok("%d MiB in total", total>>20)
}

// checkDescriptors looks at the hard limit, which Shoal raises its own to. Endpoints hold
// fewer connections where it is low.
func checkDescriptors(context.Context, *config.Config) Result {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return Warn.because("", "%v", err)
	}
	return judgeDescriptors(limit.Max)
}

func judgeDescriptors(hard uint64) Result {
	const fix = "start shoal with a higher limit: LimitNOFILE=1048576 in its systemd unit, `ulimit -Hn 1048576` in root's shell, or --ulimit nofile=1048576 for a container"
	switch {
	case hard < minDescriptors:
		return Warn.because(fix, "%d open files at most; few clients and sandboxes fit", hard)
	case hard < goodDescriptors:
		return Note.because(fix, "%d open files at most; the API and the proxy hold fewer connections than they could", hard)
	}
	return ok("%d open files", hard)
}

// existing returns the directory, or its nearest parent that exists.
func existing(dir string) string {
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// checkRunDir warns of a run directory on a disk: pauses and resumes then wait behind
// everything else that is written there.
func checkRunDir(_ context.Context, cfg *config.Config) Result {
	if !config.OnMemory(existing(cfg.RunDir)) {
		return Warn.because("set --run-dir to a directory on tmpfs, such as /dev/shm/shoal",
			"%s is on a disk, and pauses and resumes wait for it", cfg.RunDir)
	}
	return ok("%s is on tmpfs", cfg.RunDir)
}

func checkDisk(_ context.Context, cfg *config.Config) Result {
	dir := existing(cfg.DataDir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Fail.because("set --data-dir to a usable directory", "%s: %v", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if free < minDisk {
		return Fail.because("free some space, or set --data-dir to a larger file system",
			"%d MiB free in %s; the base template needs %d", free>>20, dir, minDisk>>20)
	}
	return ok("%d MiB free for %s", free>>20, cfg.DataDir)
}

// checkRoute looks for the default route, which guests use to reach the internet.
func checkRoute(context.Context, *config.Config) Result {
	routes, err := network.Dump(func() ([]netlink.Route, error) {
		return netlink.RouteList(nil, netlink.FAMILY_V4)
	})
	if err != nil {
		return Warn.because("", "cannot list routes: %v", err)
	}
	for _, r := range routes {
		if (r.Dst == nil || r.Dst.IP.IsUnspecified()) && r.Gw != nil {
			return ok("through %s", r.Gw)
		}
	}
	return Warn.because("ip route add default via GATEWAY", "no default route; sandboxes run, but cannot reach the internet")
}

// checkRanges finds host routes that the sandboxes' address ranges would hide.
func checkRanges(_ context.Context, cfg *config.Config) Result {
	host, veth, _ := cfg.Prefixes()
	routes, err := network.ForeignRoutes(cfg.NetworkName(), host, veth)
	if err != nil {
		return Warn.because("", "cannot compare them with the host's routes: %v", err)
	}
	if len(routes) > 0 {
		return Fail.because("set --host-cidr and --veth-cidr to ranges that the host does not use", "%s", routes[0])
	}
	return ok("%s and %s are free", host, veth)
}

func checkPorts(_ context.Context, cfg *config.Config) Result {
	var taken []string
	all := append([]string{cfg.APIListen, cfg.ProxyListen, cfg.HealthListen, cfg.NodeListen}, cfg.DomainAddresses()...)
	for _, addr := range all {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
			continue
		}
		if errors.Is(err, unix.EADDRINUSE) {
			taken = append(taken, fmt.Sprintf("%s by %s", addr, PortHolder(addr)))
		} else {
			taken = append(taken, fmt.Sprintf("%s: %v", addr, err))
		}
	}
	if len(taken) == 0 {
		return ok("free: %s", strings.Join(all, ", "))
	}
	for _, t := range taken {
		if !strings.Contains(t, "shoal") {
			return Fail.because("stop the process, or choose other addresses with "+
				"--api-listen, --proxy-listen, --health-listen, --node-listen, --tls-listen",
				"in use: %s", strings.Join(taken, "; "))
		}
	}
	return Note.because("", "in use by a running shoal: %s", strings.Join(taken, "; "))
}

func checkBootstrap(ctx context.Context, cfg *config.Config) Result {
	if path, err := exec.LookPath("mmdebstrap"); err == nil {
		return ok("%s", path)
	}
	if checkBase(ctx, cfg).Level == OK {
		return Note.because("apt-get install mmdebstrap",
			"mmdebstrap is missing; the base template is built already")
	}
	return Fail.because("apt-get install mmdebstrap",
		"mmdebstrap is missing; the base template cannot be built")
}

func checkBase(_ context.Context, cfg *config.Config) Result {
	dir := filepath.Join(cfg.BaseImages(), "images")
	images, _ := filepath.Glob(filepath.Join(dir, "sha256-*.erofs"))
	if len(images) == 0 {
		return Note.because("", "not built yet; the first start builds it")
	}
	return ok("%d image(s) in %s", len(images), dir)
}
