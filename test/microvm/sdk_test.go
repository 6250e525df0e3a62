package microvm

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// suites are the tests of test/python that hold for guests of any kind, without those that move so much that
// emulated processors take minutes for it.
var suites = []string{
	"test_sandbox.Commands", "test_sandbox.Lifecycle",
	"test_sandbox.Files.test_text_bytes_and_stream", "test_sandbox.Files.test_many", "test_sandbox.Files.test_missing",
	"test_sandbox.Files.test_directories", "test_sandbox.Files.test_links",
	"test_sandbox.Files.test_watch_sees_exactly_three_events", "test_sandbox.Files.test_signed_download",
	"test_lifecycle.Pause.test_memory_and_disk_come_back", "test_lifecycle.Pause.test_stream_is_attached_again",
	"test_lifecycle.Pause.test_disk_only", "test_lifecycle.Pause.test_reboot",
	"test_lifecycle.Pause.test_time_out_pauses_and_traffic_resumes", "test_lifecycle.Pause.test_kill_of_a_paused_one",
	"test_lifecycle.Snapshots.test_copies_outlive_their_source", "test_lifecycle.Snapshots.test_disk_only",
	"test_lifecycle.Fork", "test_lifecycle.Together.test_ten_connects_resume_once",
	"test_randomness.Forks.test_python",
}

// TestLabSDK is what a client of Shoal sees of microVMs.
func TestLabSDK(t *testing.T) {
	start(t)
	own := []string{"test_microvm.Guest", "test_microvm.Copies", "test_microvm.Ends"}
	python(t, []string{"KERNEL=" + kernelRelease(t)}, append(own, suites...)...)
	t.Run("Nothing", func(t *testing.T) { nothingIsLeft(t) })
}

// kernelRelease is that of guests.
func kernelRelease(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(os.Getenv("SHOAL_TEST_FIRECRACKER"), "kernels", "*", "kernel.json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("kernels: %v %v", found, err)
	}
	data, err := os.ReadFile(found[0])
	var k struct{ Release string }
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k.Release
}

// nothingIsLeft waits until sandboxes that have ended have no process, device, disk or directory left.
func nothingIsLeft(t *testing.T) {
	t.Helper()
	var left []string
	for range 100 {
		attached, _ := filepath.Glob("/sys/block/nbd*/pid")
		jails, _ := filepath.Glob(filepath.Join(server.RunDir, "firecracker", "*.json"))
		left = append(append(commands("firecracker", "jailer", "attendant"), attached...), jails...)
		if len(left) == 0 {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Errorf("of sandboxes that have ended are left: %v", left)
}

// TestLabSurvival kills Shoal while one sandbox runs and another one is paused: both go on with what they had in
// memory, and the next Shoal can do with them what the first could.
func TestLabSurvival(t *testing.T) {
	start(t)
	state := []string{"STATE=" + filepath.Join(t.TempDir(), "state.json")}
	python(t, state, "test_microvm.BeforeKill")
	up.Kill()
	up = nil
	start(t)
	python(t, state, "test_microvm.AfterKill")
	nothingIsLeft(t)
}

// TestLabRates gives guests bounds, which hold for one that begins and for one that comes back. They are microVMs
// because the machine can run those, and not because the settings name them.
func TestLabRates(t *testing.T) {
	start(t)
	state := []string{"STATE=" + filepath.Join(t.TempDir(), "state.json")}
	python(t, state, "test_microvm.BeforeRates")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	env := server.Env
	server.Env = append(slices.Clip(env), "SHOAL_RUNTIMES=auto", "SHOAL_FIRECRACKER_DISK_RATE=2", "SHOAL_FIRECRACKER_NETWORK_RATE=1")
	start(t)
	python(t, state, "test_microvm.AfterRates")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	server.Env = env
}

// TestLabGarbage has `shoal gc` remove a disk that nothing needs, and not the one that sandboxes begin with.
func TestLabGarbage(t *testing.T) {
	start(t)
	bases := disks(t)
	if len(bases) == 0 {
		t.Fatal("there are no disks of microVMs")
	}
	long := time.Now().Add(-time.Hour)
	old := filepath.Join(filepath.Dir(bases[0]), "0123456789abcdef0123456789abcdef-512.ext4")
	if err := os.WriteFile(old, bytes.Repeat([]byte{1}, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range append(bases, old) {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	out, err := server.Run(t.Context(), "gc")
	if t.Logf("%s", out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("a disk that nothing needs is left: %v", err)
	}
	for _, path := range bases {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// TestLabDown ends a Shoal that was killed, with settings by which no microVM could run: of a sandbox that ran
// nothing is left.
func TestLabDown(t *testing.T) {
	start(t)
	python(t, nil, "test_microvm.Stays")
	if len(commands("firecracker")) == 0 {
		t.Error("no Firecracker runs")
	}
	up.Kill()
	up = nil
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := server.Run(ctx, "down", "--runtimes=gvisor", "--firecracker-dir="+t.TempDir())
	if err != nil || !strings.Contains(out, "ended 1 sandbox") {
		t.Errorf("down: %v: %s", err, out)
	}
	nothingIsLeft(t)
	for _, leak := range awaitQuiet() {
		t.Error(leak)
	}
	if files := filesOfGuests(); len(files) > 0 {
		t.Errorf("files are left: %v", files)
	}
}
