package gvisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	"gvisor.dev/gvisor/runsc/boot/filter"
	"gvisor.dev/gvisor/runsc/boot/filter/config"
	goferfilter "gvisor.dev/gvisor/runsc/fsgofer/filter"
	goferconfig "gvisor.dev/gvisor/runsc/fsgofer/filter/config"

	"shoal/internal/runtime"
	"shoal/internal/runtime/console"
	"shoal/internal/runtime/gvisor/kernel"
	"shoal/internal/runtime/gvisor/pin"
	"shoal/internal/shoal"
)

// TestMain lets the test binary serve as the sandbox kernel.
func TestMain(m *testing.M) {
	kernel.Run()
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// platformVariable names another platform of gVisor, by which all tests run then.
const platformVariable = "SHOAL_TEST_GVISOR_PLATFORM"

func testDriver(t testing.TB) *Driver {
	t.Helper()
	needRoot(t)
	d, err := New(Options{Platform: os.Getenv(platformVariable), RunDir: t.TempDir(), CgroupParent: fmt.Sprintf("shoal-test-%d-%s", os.Getpid(),
		strings.NewReplacer("/", "-", ",", "").Replace(t.Name()))},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the driver: %v", err)
		}
	})
	return d
}

func testSpec(t *testing.T, id string) runtime.Spec {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	return runtime.Spec{ID: id, Dir: t.TempDir(), UpperDir: t.TempDir(), Root: runtime.NewRoot(image),
		Hostname:  "test",
		Resources: shoal.Resources{CPUCount: 1, MemoryMB: 256, DiskMB: 64}, MaxProcesses: 64,
		First: runtime.Process{Args: []string{"/init"}}}
}

// TestKernelLifetime starts a kernel without a guest: it must be in its cgroup,
// under the driver's limits, and leave nothing when it ends.
func TestKernelLifetime(t *testing.T) {
	d := testDriver(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	g, err := d.create(ctx, testSpec(t, "lifetime"))
	if err != nil {
		t.Fatal(err)
	}
	if got := d.cgroups.processes("lifetime"); len(got) == 0 || !contains(got, g.pid) {
		t.Errorf("the kernel %d is not in its cgroup: %v", g.pid, got)
	}
	stats, err := g.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if stats.MemoryBytes < 0 {
		t.Errorf("memory = %d", stats.MemoryBytes)
	}
	if err := g.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.opts.RunDir, "runsc-lifetime.sock")); !os.IsNotExist(err) {
		t.Errorf("the control socket is left: %v", err)
	}
	if ids, _ := d.cgroups.ids(); len(ids) != 0 {
		t.Errorf("cgroups are left: %v", ids)
	}
}

// TestInputAndOutput: runsc gives a guest's standard files to the user of its kernel. None of
// them is the host's: they are an empty file that cannot be written, and the console.
func TestInputAndOutput(t *testing.T) {
	d := testDriver(t)
	var before, after, stdin, written unix.Stat_t
	read := func(path string, into *unix.Stat_t) {
		t.Helper()
		if err := unix.Stat(path, into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	read(os.DevNull, &before)
	spec := testSpec(t, "files")
	g, err := d.create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Kill(context.WithoutCancel(t.Context()))
	read(os.DevNull, &after)
	if after.Uid != before.Uid || after.Gid != before.Gid || after.Ctim != before.Ctim {
		t.Errorf("the null device belongs to %d:%d, before to %d:%d", after.Uid, after.Gid, before.Uid, before.Gid)
	}
	const first = 253 // where gVisor keeps these files (boot.startingStdioFD)
	read(fmt.Sprintf("/proc/%d/fd/%d", g.pid, first), &stdin)
	if stdin.Mode&unix.S_IFMT != unix.S_IFREG || stdin.Size != 0 || stdin.Nlink != 0 {
		t.Errorf("the guest's standard input: %+v", stdin)
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", g.pid, first))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^flags:\s+\d*0$`).Match(info) { // octal; the last digit is the access mode
		t.Errorf("the guest's standard input can be written: %s", info)
	}
	read(filepath.Join(spec.Dir, console.File), &written)
	for fd := first + 1; fd <= first+2; fd++ {
		var output unix.Stat_t
		if read(fmt.Sprintf("/proc/%d/fd/%d", g.pid, fd), &output); output.Ino != written.Ino {
			t.Errorf("the guest's output %d is not its console", fd)
		}
	}
}

// TestKernelDeathIsSeen kills the kernel from outside.
func TestKernelDeathIsSeen(t *testing.T) {
	d := testDriver(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	g, err := d.create(ctx, testSpec(t, "death"))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := os.FindProcess(g.pid)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-g.Done():
	case <-ctx.Done():
		t.Fatal("the kernel's death was not seen")
	}
	if err := g.Freeze(ctx); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("Freeze of a dead guest = %v, want ErrGone", err)
	}
}

// TestSeccompTable fails if gVisor's table of ready filters moves, or if the
// programs here no longer fit the options that the driver starts kernels with.
func TestSeccompTable(t *testing.T) {
	constructor, err := platform.Lookup("systrap")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range constructor.PrecompiledSeccompInfo() {
		key := config.Options{Platform: info}.ConfigKey()
		program, ok := filter.GetPrecompiled(key)
		if !ok {
			t.Errorf("no ready filter for %s; run go generate", key)
			continue
		}
		if _, err := program.RenderInstructions(config.Options{Platform: info}.Vars()); err != nil {
			t.Errorf("filter for %s does not render: %v", key, err)
		}
	}
	want, err := goferconfig.PrecompileVolumes()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := goferfilter.GetPrecompiled(want.Name); !ok || !slices.Equal(got.Bytecode32, want.Bytecode32) {
		t.Error("no ready filter for gofers, or another; run go generate")
	}
}

// TestModuleVersion keeps the version that checkpoints record equal to go.mod's.
func TestModuleVersion(t *testing.T) {
	data, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "gvisor.dev/gvisor "+pin.Version+"\n") &&
		!strings.Contains(string(data), "gvisor.dev/gvisor "+pin.Version+" ") {
		t.Errorf("go.mod has another gVisor than %s", pin.Version)
	}
}

func contains(list []int, want int) bool {
	for _, v := range list {
		if v == want {
			return true
		}
	}
	return false
}
