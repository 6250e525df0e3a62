package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDepot: one that is missing, is no directory, or takes nothing.
func TestDepot(t *testing.T) {
	cfg := settings(t)
	wants(t, checkDepot(t.Context(), cfg), OK, "none")
	cfg.ArtifactDir = filepath.Join(t.TempDir(), "depot")
	wants(t, checkDepot(t.Context(), cfg), Fail, "no such file")
	if err := os.Mkdir(cfg.ArtifactDir, 0o700); err != nil {
		t.Fatal(err)
	}
	wants(t, checkDepot(t.Context(), cfg), Note, "same file system")
	if left, err := os.ReadDir(cfg.ArtifactDir); err != nil || len(left) > 0 {
		t.Errorf("the check has left %v, %v", left, err)
	}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		dir, err := os.MkdirTemp("/dev/shm", "shoal-depot-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		cfg.DataDir = t.TempDir()
		cfg.ArtifactDir = dir
		if r := checkDepot(t.Context(), cfg); r.Level == Fail {
			t.Errorf("elsewhere: %+v", r)
		}
	}
	cfg.ArtifactDir = "/proc/sys" // takes no files, also of root
	wants(t, checkDepot(t.Context(), cfg), Fail, "write to /proc/sys")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.ArtifactDir = file
	wants(t, checkDepot(t.Context(), cfg), Fail, "not a directory")
}
