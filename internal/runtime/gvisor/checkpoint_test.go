package gvisor

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCheckpointOfAFullGuest: the guest's memory and the pages of the checkpoint together
// exceed its limit.
func TestCheckpointOfAFullGuest(t *testing.T) {
	h := newHost(t)
	b := h.start("full", "")
	own, limit := b.Spec.Resources.MemoryMB, hostMemory(b.Spec.Resources)>>20
	b.Want(fmt.Sprintf("/hold?mb=%d", own*7/10), "ok")
	allowed := func() int64 {
		dir := h.driver.cgroups.memoryDir(b.Spec.ID)
		return max(readInt(filepath.Join(dir, "memory.max")),
			readInt(filepath.Join(dir, "memory.limit_in_bytes"))) >> 20
	}
	ctx, dir := t.Context(), t.TempDir()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if got := allowed(); got < limit+own*7/10 {
		t.Errorf("while the checkpoint's pages are cached, the limit is %d MiB", got)
	}
	b.Tidy()
	if used := h.driver.cgroups.memoryOf(b.Spec.ID); used.all-used.clean > limit<<20 && allowed() == limit {
		t.Error("the limit was restored although the guest would not survive it")
	}
	unix.Sync() // now the pages can be dropped
	b.Tidy()
	if got := allowed(); got != limit {
		t.Errorf("the limit is %d MiB, want %d", got, limit)
	}
	if err := b.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.Want("/count", "1")
	h.start("copy-of-full", dir).Want("/count", "1")
}
