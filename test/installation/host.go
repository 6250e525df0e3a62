package installation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/network"
)

// Host is everything on the host that a sandbox or its orchestrator creates. Two states of
// an idle machine are equal unless something leaked.
type Host map[string][]string

// ReadHost reads the current state.
func ReadHost() (Host, error) {
	state := Host{
		"processes":  processes("runsc-sandbox", "bin/shoal"),
		"namespaces": glob("/run/netns/*"),
		"cgroups":    append(glob("/sys/fs/cgroup/*/shoal*"), glob("/sys/fs/cgroup/shoal*")...),
		"mounts":     mounts(),
		"files": slices.Concat(glob("/dev/shm/shoal*"), glob("/run/shoal*"),
			glob(filepath.Join(os.TempDir(), "shoal-*"))),
	}
	var null unix.Stat_t
	if err := unix.Stat(os.DevNull, &null); err != nil {
		return nil, err
	}
	state["devices"] = []string{fmt.Sprintf("%s of %d:%d with mode %o", os.DevNull, null.Uid, null.Gid, null.Mode)}
	links, err := network.Dump(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		state["links"] = append(state["links"], l.Attrs().Name)
	}
	routes, err := network.Dump(func() ([]netlink.Route, error) {
		return netlink.RouteList(nil, netlink.FAMILY_V4)
	})
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		state["routes"] = append(state["routes"], r.String())
	}
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		state["tables"] = append(state["tables"], fmt.Sprintf("%d %s", t.Family, t.Name))
	}
	for _, file := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/all/rp_filter"} {
		data, _ := os.ReadFile(file)
		state["sysctl"] = append(state["sysctl"], file+"="+strings.TrimSpace(string(data)))
	}
	if nft, err := exec.LookPath("nft"); err == nil {
		out, _ := exec.Command(nft, "-s", "list", "ruleset").Output()
		state["ruleset"] = strings.Split(string(out), "\n")
	}
	for _, list := range state {
		slices.Sort(list)
	}
	return state, nil
}

// Diff lists what one state has and the other lacks.
func (before Host) Diff(after Host) []string {
	var found []string
	for kind, list := range after {
		for _, item := range list {
			if !slices.Contains(before[kind], item) {
				found = append(found, fmt.Sprintf("%s: left behind: %s", kind, item))
			}
		}
	}
	for kind, list := range before {
		for _, item := range list {
			if !slices.Contains(after[kind], item) {
				found = append(found, fmt.Sprintf("%s: gone: %s", kind, item))
			}
		}
	}
	return found
}

// AwaitQuiet waits a moment for the kernel to finish cleaning up after the last process,
// and then lists what is left.
func (before Host) AwaitQuiet() []string {
	var leaks []string
	for range 50 {
		after, err := ReadHost()
		if err != nil {
			return []string{err.Error()}
		}
		if leaks = before.Diff(after); len(leaks) == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return leaks
}

func glob(pattern string) []string {
	list, _ := filepath.Glob(pattern)
	return list
}

// processes lists the command lines that contain one of names, without the tests' own.
func processes(names ...string) []string {
	var found []string
	for _, file := range glob("/proc/[0-9]*/cmdline") {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		line := strings.ReplaceAll(string(data), "\x00", " ")
		for _, name := range names {
			if strings.Contains(line, name) && !strings.Contains(line, ".test ") &&
				!strings.HasSuffix(line, ".test") && !strings.Contains(line, "make ") {
				found = append(found, strings.Split(file, "/")[2]+" "+line)
			}
		}
	}
	return found
}

// mounts leaves out what iproute2 mounts for its first namespace, and nobody unmounts.
func mounts() []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	for _, line := range strings.Split(string(data), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] != "/run/netns" {
			points = append(points, fields[4])
		}
	}
	return points
}
