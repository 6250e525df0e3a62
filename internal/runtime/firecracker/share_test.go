package firecracker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/share"
	"shoal/internal/runtime/runtimetest"
)

// servers are the processes that serve volumes.
func servers(t *testing.T) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		data, _ := os.ReadFile(path)
		if strings.Contains(string(data), "\x00"+share.Command+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestLabVolumeServer kills what serves a volume: it is an error to the guest, which is not held up by it, until the
// volume is mounted again; and nothing of it outlives the guest.
func TestLabVolumeServer(t *testing.T) {
	h, dir := runtimetest.NewHost(t, open(t)), t.TempDir()
	ctx := context.Background()
	v := runtime.Volume{ID: "v", Dir: dir, Path: "/v", Bytes: 8 << 20, Counter: filepath.Join(t.TempDir(), "counter")}
	other := runtime.Volume{ID: "w", Dir: t.TempDir(), Path: "/v/below"}
	a := h.Start("a", "")
	a.Want("/count", "1")
	mount := func() {
		t.Helper()
		for _, v := range []runtime.Volume{v, other} {
			if err := a.Mount(ctx, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	mount()
	a.Want("/write?path=/v/file&text=one", "ok")
	a.Want("/write?path=/v/below/file&text=two", "ok")
	a.Want("/keep?path=/v/file", "ok")
	if status, text := a.Ask("/fill?path=/v/big&mb=16"); status != 500 || !strings.Contains(text, "no space left") {
		t.Errorf("more than there is room for: %d %s", status, text)
	}
	for _, pid := range servers(t) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if status, text := a.Ask("/kept?path=/v/file"); status != 500 || !strings.Contains(text, "input/output error") {
		t.Errorf("read without a server: %d %s", status, text)
	}
	if err := a.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := a.Checkpoint(ctx, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	mount()
	if err := a.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	a.Want("/read?path=/v/file", "one")
	a.Want("/read?path=/v/below/file", "two")
	if status, text := a.Ask("/kept?path=/v/file"); status != 500 {
		t.Errorf("what was open before: %d %s", status, text)
	}
	if err := a.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if left := servers(t); len(left) != 0 {
		t.Errorf("servers of a guest that has ended: %v", left)
	}
}

// TestLabVolumeRate logs how long a file takes to be copied into, out of and within a volume, and on the guest's own
// disk.
func TestLabVolumeRate(t *testing.T) {
	if os.Getenv("SHOAL_RATES") == "" {
		t.Skip("SHOAL_RATES is not set")
	}
	const megabytes = 64
	h, dir := runtimetest.NewHost(t, open(t)), t.TempDir()
	spec, slot := h.Spec("a")
	spec.Resources.DiskMB = 4 * megabytes
	a := h.Boot(spec, slot, "")
	a.Want("/count", "1")
	if err := a.Mount(context.Background(), runtime.Volume{ID: "v", Dir: dir, Path: "/v"}); err != nil {
		t.Fatal(err)
	}
	a.Want(fmt.Sprintf("/fill?path=/file&mb=%d", megabytes), "ok")
	for range 3 {
		for _, way := range [][2]string{{"/file", "/copy"}, {"/file", "/v/file"}, {"/v/file", "/copy"}, {"/v/file", "/v/copy"}} {
			status, text := a.Ask(fmt.Sprintf("/copy?from=%s&to=%s", way[0], way[1]))
			if status != 200 {
				t.Fatal(text)
			}
			t.Logf("%d MiB from %s to %s: %s ms", megabytes, way[0], way[1], text)
		}
	}
}
