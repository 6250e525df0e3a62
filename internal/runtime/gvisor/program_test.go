package gvisor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor/pin"
)

// TestKernelPrograms: a checkpoint fits while the kernel that made it is kept, and a kernel
// is kept while it is needed.
func TestKernelPrograms(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"present", "needed", "old"} {
		path := filepath.Join(dir, name, "kernel")
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755),
			os.WriteFile(path, []byte(name), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	d := &Driver{opts: Options{Kernel: filepath.Join(dir, "present", "kernel")}}
	fits := func(version, kernel string) bool {
		t.Helper()
		err := d.Fits(runtime.Maker{Runtime: Name, Version: version, Kernel: kernel})
		if err != nil && !errors.Is(err, runtime.ErrUnfit) {
			t.Error(err)
		}
		return err == nil
	}
	if made := d.Maker(); made.Kernel != "present" || !fits(made.Version, made.Kernel) {
		t.Errorf("its own checkpoints do not fit: %+v", made)
	}
	if fits("another", "present") || !fits("another", "old") || fits(pin.Version, "lost") || !fits("", "present") {
		t.Error("a kernel must fit checkpoints of its own version, and of any kernel that is kept")
	}
	removed, size, err := d.RemoveKernels(func(name string) bool { return name == "needed" })
	if err != nil || removed != 1 || size != int64(len("old")) {
		t.Errorf("removed %d with %d bytes: %v", removed, size, err)
	}
	for name, want := range map[string]bool{"present": true, "needed": true, "old": false} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
