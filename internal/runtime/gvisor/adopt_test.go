package gvisor

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestAdoptInACheckpoint: a checkpoint that a dead process requested holds the guest's
// tasks. Whoever adopts the guest meanwhile must not mistake that for a freeze.
func TestAdoptInACheckpoint(t *testing.T) {
	h := newHost(t)
	b := h.start("saved", "")
	b.Want("/hold?mb=300", "ok")
	box, done := b.guest().box, make(chan error, 1)
	go func() { done <- b.Checkpoint(context.Background(), t.TempDir()) }()
	stacks := func() string {
		text, err := box.Stacks()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for !strings.Contains(stacks(), savingFrame) && len(done) == 0 {
	}
	again := b.Adopt()
	if err := again.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if tasks, stopped, _ := countTasks(stacks()); tasks == 0 || stopped < tasks {
		t.Errorf("after the freeze %d of %d tasks run", tasks-stopped, tasks)
	}
	if err := again.Thaw(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.Want("/count", "1")
}

// TestReclaimStray: a kernel whose starter died before moving it into its cgroup.
func TestReclaimStray(t *testing.T) {
	h := newHost(t)
	b := h.start("stray", "")
	b.Want("/count", "1") // stubs are created while it boots
	for _, root := range h.driver.cgroups.roots {
		for _, pid := range h.driver.cgroups.processes("stray") {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
	}
	if left := h.driver.cgroups.processes("stray"); len(left) > 0 {
		t.Fatalf("still in the cgroup: %v", left)
	}
	if err := h.driver.Reclaim(context.Background(),
		func(id string) bool { return id == "stray" }); err != nil {
		t.Fatal(err)
	}
	b.Want("/count", "2")
	if err := h.driver.Reclaim(context.Background(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	b.Ends("a reclaim that does not name it")
}
