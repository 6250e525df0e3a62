package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor/pin"
)

// gofersOf lists the gofers of a guest.
func gofersOf(t *testing.T, id string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, _ := os.ReadFile(file)
		args := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
		if len(args) == 4 && args[0] == pin.GoferArgv0 && args[2] == id {
			var pid int
			if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestGoferEnds: a volume whose gofer is gone is an error to the guest, which goes on, can be
// checkpointed, and can have it again. The gofer ends with the guest.
func TestGoferEnds(t *testing.T) {
	h, dir := newHost(t), t.TempDir()
	b := h.start("gofer", "")
	b.Want("/count", "1")
	v := runtime.Volume{ID: "v", Dir: dir, Path: "/v"}
	if err := b.Mount(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	b.Want("/write?path=/v/file&text=one", "ok")
	b.Want("/keep?path=/v/file", "ok")
	gofers := gofersOf(t, "gofer")
	if len(gofers) != 1 {
		t.Fatalf("there are %d gofers", len(gofers))
	}
	if err := unix.Kill(gofers[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status, text := b.Ask("/read?path=/v/file"); status != 500 || !strings.Contains(text, "input/output error") {
		t.Errorf("read without a gofer: %d %s", status, text)
	}
	b.Want("/count", "2")
	if err := b.Checkpoint(t.Context(), t.TempDir()); err != nil {
		t.Errorf("checkpoint without a gofer: %v", err)
	}
	if err := b.Mount(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	b.Want("/read?path=/v/file", "one")
	// So it is when the gofer is gone while the guest rests.
	b.Want("/keep?path=/v/file", "ok")
	if err := b.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range gofersOf(t, "gofer") {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, text := b.Ask("/read?path=/v/file"); status != 500 || !strings.Contains(text, "input/output error") {
		t.Errorf("read after a rest without a gofer: %d %s", status, text)
	}
	if err := b.Mount(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	b.Want("/read?path=/v/file", "one")
	if err := b.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := gofersOf(t, "gofer"); len(left) != 0 {
		t.Errorf("gofers of a guest that has ended: %v", left)
	}
}

// TestGoferIsConfined: a gofer reaches nothing but its directory, and has no more rights than
// files need.
func TestGoferIsConfined(t *testing.T) {
	h, dir := newHost(t), t.TempDir()
	b := h.start("confined", "")
	b.Want("/count", "1")
	start := time.Now()
	if err := b.Mount(t.Context(), runtime.Volume{ID: "v", Dir: dir, Path: "/v"}); err != nil {
		t.Fatal(err)
	}
	t.Logf("a mount took %v", time.Since(start))
	proc := fmt.Sprintf("/proc/%d/", gofersOf(t, "confined")[0])
	mounts, err := os.ReadFile(proc + "mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(string(mounts)), "\n"); len(lines) != 1 ||
		!strings.Contains(lines[0], " / ") || !strings.Contains(lines[0], "nosuid,nodev") {
		t.Errorf("a gofer has these mounts:\n%s", mounts)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	// chown, dac_override, dac_read_search, fowner, fsetid
	for _, want := range []string{"CapEff:\t000000000000001f", "CapPrm:\t000000000000001f",
		"NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("a gofer's status lacks %q:\n%s", want, status)
		}
	}
}

// TestVolumeRate logs how long a program takes to write a large file to a volume, and the host.
func TestVolumeRate(t *testing.T) {
	if os.Getenv("SHOAL_RATES") == "" {
		t.Skip("SHOAL_RATES is not set")
	}
	h, dir := newHost(t), t.TempDir()
	b := h.start("rate", "")
	b.Want("/count", "1")
	if err := b.Mount(t.Context(), runtime.Volume{ID: "v", Dir: dir, Path: "/v"}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		start := time.Now()
		b.Want("/fill?path=/v/big&mb=256", "ok")
		inGuest := time.Since(start)
		start = time.Now()
		zeros := make([]byte, 32<<10)
		f, err := os.Create(filepath.Join(dir, "host"))
		if err != nil {
			t.Fatal(err)
		}
		for range 256 << 5 {
			if _, err := f.Write(zeros); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
		onHost := time.Since(start)
		t.Logf("256 MiB: guest %v, host %v", inGuest, onHost)
		if err := os.Remove(filepath.Join(dir, "host")); err != nil {
			t.Fatal(err)
		}
	}
}
