package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"shoal/internal/config"
	"shoal/internal/egress"
)

// EgressCommand is the command by which this program is the egress process.
const EgressCommand = "egress"

// thisProgram stays the program of this process when its file is replaced.
const thisProgram = "/proc/self/exe"

// EgressBuild tells apart the programs that egress processes are of.
func EgressBuild(version string) string {
	info, err := os.Stat(thisProgram)
	if err != nil {
		return version
	}
	return fmt.Sprintf("%s %d %d", version, info.Size(), info.ModTime().UnixNano())
}

// openEgress returns what keeps the egress process.
func (m *Machine) openEgress() *egress.Steward {
	return egress.NewSteward(egress.StewardConfig{RunDir: m.cfg.RunDir, Build: EgressBuild(m.options.Version),
		Start: m.startEgress, Keep: m.ledger.Add}, m.log)
}

// startEgress starts an egress process with the settings that matter to it, in cgroups of its own:
// a service manager that ends this process ends what is in the same.
func (m *Machine) startEgress(ctx context.Context) (*os.Process, error) {
	p, err := egress.Launch(ctx, thisProgram, egressArguments(m.cfg), egressEnvironment())
	if err != nil {
		return nil, err
	}
	if err := moveToGroup(egressGroup(m.cfg.Instance), p.Pid); err != nil {
		m.log.Warn("the egress process stays in the cgroup of this one", "error", err)
	}
	return p, nil
}

func egressArguments(cfg *config.Config) []string {
	args := []string{EgressCommand, "--run-dir=" + cfg.RunDir, "--host-cidr=" + cfg.HostCIDR, "--veth-cidr=" + cfg.VethCIDR,
		"--log-level=" + cfg.LogLevel}
	for flag, list := range map[string][]string{"allow-internal": cfg.AllowInternal, "dns": cfg.DNS,
		"trust-ca": cfg.TrustCA} {
		if len(list) > 0 {
			args = append(args, "--"+flag+"="+strings.Join(list, ","))
		}
	}
	return args
}

// egressEnvironment is what the Go runtime and the host's trust store need, without this
// program's own settings, some of which are secret.
func egressEnvironment() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, config.EnvPrefix+"_") {
			env = append(env, entry)
		}
	}
	return env
}

func egressGroup(instance string) string { return instance + "-egress" }

// egressControllers are those of cgroup v1 in which the process gets a group, that of systemd for
// the sake of service managers; "" is v2.
var egressControllers = []string{"", "memory", "cpu", "name=systemd"}

// groupDirs lists the directories of a cgroup.
func groupDirs(group string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, m := range mounts {
		options := strings.Split(m.VFSOptions, ",")
		for _, c := range egressControllers {
			if (c == "") == (m.FSType == "cgroup2") && (c == "" || slices.Contains(options, c)) {
				dirs = append(dirs, filepath.Join(m.Mountpoint, group))
				break
			}
		}
	}
	return dirs, nil
}

func moveToGroup(group string, pid int) error {
	dirs, err := groupDirs(group)
	for _, dir := range dirs {
		if made := os.Mkdir(dir, 0o755); made != nil && !errors.Is(made, fs.ErrExist) {
			err = errors.Join(err, made)
			continue
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
	}
	return err
}

// removeGroup removes a cgroup. The host's kernel empties it a moment after its last process was
// reaped, and gives no notice of it; hence the retries.
func removeGroup(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, emptyTime)
	defer cancel()
	dirs, err := groupDirs(group)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, dir := range dirs {
		gone := unix.Rmdir(dir)
		for errors.Is(gone, unix.EBUSY) && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
				gone = unix.Rmdir(dir)
			}
		}
		if gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", dir, gone))
		}
	}
	return err
}

// emptyTime bounds how long the host's kernel may take for that.
const emptyTime = 5 * time.Second
