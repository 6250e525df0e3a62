package firecracker_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/runtime/runtimetest"
)

// clocks of microVMs are the processor's: all go on while the machine is stopped. Of a restored one, all go on from
// where they were in the checkpoint.
var clocks = runtimetest.Clocks{Frozen: runtimetest.Time{Monotonic: true, Boot: true}}

// storeVariable names a directory of programs with a kernel, into which the tests import
// FIRECRACKER_BIN.
const storeVariable = "SHOAL_TEST_FIRECRACKER"

// emulated is how long a guest on emulated processors, which others use too, may take to answer.
const emulated = 10 * time.Minute

// TestLabConformance needs root, KVM, FIRECRACKER_BIN with the jailer beside it, and a kernel.
func TestLabConformance(t *testing.T) {
	runtimetest.Run(t, open, clocks)
}

// TestLabConformanceWithFiles is the same with disks and memory that are files.
func TestLabConformanceWithFiles(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime { return openIn(t, firecracker.Options{Files: true}) }, clocks)
}

func open(t *testing.T) runtime.Runtime { return openIn(t, firecracker.Options{}) }

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
	o.Attendant = runtimetest.ProgramFile(t, "shoal/cmd/attendant")
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
