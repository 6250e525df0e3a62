package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/envdapi"
	"shoal/internal/runtime/gvisor/pin"
)

// stockRuntime is the anchor for starts and exec: unmodified runsc with the same files as a
// directory, in a namespace with one address.
type stockRuntime struct {
	dir, binary, bundle string
}

const (
	stockNamespace = "shoal-bench"
	stockHost      = "10.83.0.1/30"
	stockGuest     = "10.83.0.2"
)

// newStock builds runsc from the pinned module and copies the base template's packages.
func newStock(dir, imageDir string) (*stockRuntime, error) {
	st := &stockRuntime{dir: dir, binary: filepath.Join(dir, "runsc"), bundle: filepath.Join(dir, "bundle")}
	if err := st.build(); err != nil {
		return nil, err
	}
	root := filepath.Join(st.bundle, "rootfs")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if err := copyPackages(imageDir, root); err != nil {
		return nil, err
	}
	envd, err := os.ReadFile("cmd/shoal/assets/envd")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, envdapi.Executable), envd, 0o755); err != nil {
		return nil, err
	}
	spec := specs.Spec{Version: specs.Version, Root: &specs.Root{Path: "rootfs"}, Hostname: "stock",
		Process: &specs.Process{Args: envdapi.Command(), Cwd: "/",
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}},
		Mounts: []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace},
			{Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			{Type: specs.NetworkNamespace, Path: "/run/netns/" + stockNamespace}}}}
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return st, os.WriteFile(filepath.Join(st.bundle, "config.json"), data, 0o644)
}

// build compiles runsc in a module of its own, because it needs more dependencies than
// Shoal.
func (st *stockRuntime) build() error {
	dir := filepath.Join(st.dir, "module")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mod := fmt.Sprintf("module stock\n\ngo 1.26\n\nrequire gvisor.dev/gvisor %s\n", pin.Version)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", st.binary,
		"gvisor.dev/gvisor/runsc")
	// With cgo, runsc's helpers do not start.
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the stock runsc: %w\n%s", err, out)
	}
	return nil
}

func (st *stockRuntime) runsc(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, st.binary, append([]string{"--root=" + filepath.Join(st.dir, "stock"),
		"--network=sandbox", "--host-settings=ignore",
		"--sidecar-usage-policy=LEGACY_DEPRECATED_SLOW_EMBEDDED_FALLBACK",
		"--sidecar-release-enforcement-policy=NEVER"}, args...)...)
}

// prepare recreates the namespace, because runsc takes the address out of it.
func (st *stockRuntime) prepare() error {
	st.removeNamespace()
	for _, args := range [][]string{
		{"netns", "add", stockNamespace},
		{"link", "add", "shoal-bench", "type", "veth", "peer", "name", "eth0", "netns", stockNamespace},
		{"addr", "add", stockHost, "dev", "shoal-bench"},
		{"link", "set", "shoal-bench", "up"},
		{"-n", stockNamespace, "addr", "add", stockGuest + "/30", "dev", "eth0"},
		{"-n", stockNamespace, "link", "set", "eth0", "up"},
		{"-n", stockNamespace, "link", "set", "lo", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w\n%s", args, err, out)
		}
	}
	return nil
}

func (st *stockRuntime) removeNamespace() {
	_ = exec.Command("ip", "link", "del", "shoal-bench").Run()
	_ = exec.Command("ip", "netns", "del", stockNamespace).Run()
}

// start runs a container and returns how long it took until the daemon answered.
func (st *stockRuntime) start(ctx context.Context, id string) (time.Duration, error) {
	if err := st.prepare(); err != nil {
		return 0, err
	}
	begin := time.Now()
	// Not CombinedOutput, because the sandbox would hold the pipe open.
	cmd := st.runsc(ctx, "--log="+filepath.Join(st.dir, "runsc.log"), "run", "--detach", "--bundle",
		st.bundle, id)
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(filepath.Join(st.dir, "runsc.log"))
		return 0, fmt.Errorf("runsc run: %w\n%s", err, said)
	}
	if err := awaitHealth(ctx, envdapi.URL(stockGuest)); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}

func (st *stockRuntime) remove(ctx context.Context, id string) error {
	return st.runsc(ctx, "delete", "--force", id).Run()
}

func (st *stockRuntime) close() {
	st.removeNamespace()
	// runsc keeps an empty namespace mounted in its directory.
	_ = syscall.Unmount(filepath.Join(st.dir, "stock", "null-netns"), 0)
}

var pollClient = &http.Client{Timeout: 100 * time.Millisecond,
	Transport: &http.Transport{DisableKeepAlives: true}}

func awaitHealth(ctx context.Context, base string) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		resp, err := pollClient.Get(base + "/health")
		if err == nil {
			resp.Body.Close()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errNoAnswer
}

var errNoAnswer = errors.New("the guest's daemon does not answer")
