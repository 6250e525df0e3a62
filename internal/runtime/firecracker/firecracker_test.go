package firecracker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker"
	"shoal/internal/runtime/firecracker/attendant"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/runtime/firecracker/share"
	"shoal/internal/runtime/runtimetest"
)

// lacks are the promises that Firecracker does not keep.
var lacks = map[string]string{
	"clocks":          "a machine's clocks go on while its processors stand still",
	"clocks-restored": "Linux has no way to let the time since the boot go on without its monotonic clock",
}

// storeVariable names a directory of programs with a kernel, into which the tests import
// FIRECRACKER_BIN.
const storeVariable = "SHOAL_TEST_FIRECRACKER"

// emulated is how long a guest on emulated processors, which others use too, may take to answer.
const emulated = 10 * time.Minute

// TestMain makes the tests' program an attendant, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == attendant.Command {
		if err := attendant.Main(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == share.Command {
		if err := share.Main(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func attend(config string) *exec.Cmd {
	return exec.Command("/proc/self/exe", attendant.Command, config)
}

func serveVolume(config string) *exec.Cmd {
	return exec.Command("/proc/self/exe", share.Command, config)
}

// TestLabConformance needs root, KVM, FIRECRACKER_BIN with the jailer beside it, and a kernel.
func TestLabConformance(t *testing.T) {
	runtimetest.Run(t, open, lacks)
}

// TestLabConformanceWithFiles is the same without attendants.
func TestLabConformanceWithFiles(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime { return openIn(t, firecracker.Options{}) }, lacks)
}

func open(t *testing.T) runtime.Runtime { return openIn(t, firecracker.Options{Attendant: attend}) }

func openIn(t testing.TB, o firecracker.Options) *firecracker.Driver {
	t.Helper()
	path, store := os.Getenv("FIRECRACKER_BIN"), os.Getenv(storeVariable)
	if path == "" || store == "" {
		t.Skip("FIRECRACKER_BIN names no Firecracker, or " + storeVariable + " no directory with a kernel")
	}
	if err := (program.Host{}).CheckKVM(); err != nil {
		t.Skip(err)
	}
	if o.Programs == nil {
		o.Programs = program.Open(store)
	}
	if _, err := o.Programs.Import(context.Background(), path, filepath.Join(filepath.Dir(path), "jailer"), ""); err != nil {
		t.Fatal(err)
	}
	o.Share = serveVolume
	o.RunDir, o.CgroupParent, o.Patience = t.TempDir(), "rt-vm", emulated
	if o.BaseDir == "" {
		o.BaseDir = t.TempDir()
	}
	if o.Init == nil {
		o.Init = runtimetest.Program(t, "shoal/cmd/guestinit")
	}
	d, err := firecracker.New(o, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
