package gvisor

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"shoal/internal/runtime"
)

// adopt takes the guest over as a new process would.
func (b *booted) adopt() runtime.Guest {
	b.t.Helper()
	g, err := b.driver.Adopt(context.Background(), b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// TestAdopt takes a guest over with nothing but its spec, as a new process would.
func TestAdopt(t *testing.T) {
	h := newHost(t)
	b := h.start("adopted", "")
	b.want("/count", "1")
	again := b.adopt()
	if err := again.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := again.Thaw(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	if err := h.driver.Reclaim(context.Background(), func(id string) bool { return id == "adopted" }); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "3")
	gone := b.spec
	gone.ID, gone.Dir = "never", t.TempDir()
	if _, err := h.driver.Adopt(context.Background(), gone); err != runtime.ErrGone {
		t.Errorf("adopting nothing: %v", err)
	}
	// What no record names is removed.
	if err := h.driver.Reclaim(context.Background(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	b.ends("a reclaim that does not name it")
}

// TestAdoptInACheckpoint: whoever takes a guest over while a checkpoint holds its tasks,
// which one who is gone has asked for, does not take that for a freeze.
func TestAdoptInACheckpoint(t *testing.T) {
	h := newHost(t)
	b := h.start("saved", "")
	b.want("/hold?mb=300", "ok")
	box, done := b.Guest.(*guest).box, make(chan error, 1)
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
	again := b.adopt()
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
	b.want("/count", "1")
}

// TestReclaimStray: a kernel whose starter died before it put it into its cgroup.
func TestReclaimStray(t *testing.T) {
	h := newHost(t)
	b := h.start("stray", "")
	b.want("/count", "1") // while it boots, stubs are born
	for _, root := range h.driver.cgroups.roots {
		for _, pid := range h.driver.cgroups.processes("stray") {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
	}
	if left := h.driver.cgroups.processes("stray"); len(left) > 0 {
		t.Fatalf("still in the cgroup: %v", left)
	}
	if err := h.driver.Reclaim(context.Background(), func(id string) bool { return id == "stray" }); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	if err := h.driver.Reclaim(context.Background(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	b.ends("a reclaim that does not name it")
}

// TestAdoptFrozen: a process that takes a guest over cannot know whether it was
// frozen; thawing must work either way, and a thaw too many would end it.
func TestAdoptFrozen(t *testing.T) {
	h := newHost(t)
	b := h.start("frozen", "")
	b.want("/count", "1")
	ctx := context.Background()
	if err := b.adopt().Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	for range 2 {
		if err := b.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
	}
	again := b.adopt()
	for range 2 {
		if err := again.Thaw(ctx); err != nil {
			t.Fatal(err)
		}
	}
	b.want("/count", "3")
}
