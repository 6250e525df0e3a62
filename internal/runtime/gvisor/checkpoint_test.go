package gvisor

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFreezeCheckpointRestore keeps memory and disk, twice, under other names and
// addresses, while the original goes on.
func TestFreezeCheckpointRestore(t *testing.T) {
	h := newHost(t)
	b := h.start("origin", "")
	b.want("/count", "1")
	b.want("/fill?path=/kept&mb=1", "ok")
	ctx := context.Background()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := b.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if err := b.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	for n := range 2 {
		copied := h.start(fmt.Sprintf("copy-%d", n), dir)
		copied.want("/count", "2")
		copied.want("/hostname", fmt.Sprintf("name-of-copy-%d", n))
		if _, data := copied.ask("/read?path=/kept"); len(data) != 1<<20 {
			t.Errorf("the file in the writable layer has %d bytes", len(data))
		}
		copied.want("/count", "3")
	}
	b.want("/count", "3")
}

// TestCheckpointOfAFullGuest: its memory and the checkpoint's pages together are more
// than it may have.
func TestCheckpointOfAFullGuest(t *testing.T) {
	h := newHost(t)
	b := h.start("full", "")
	limit := b.spec.Resources.MemoryMB
	b.want(fmt.Sprintf("/hold?mb=%d", limit*7/10), "ok")
	allowed := func() int64 {
		dir := h.driver.cgroups.memoryDir(b.spec.ID)
		return max(readInt(filepath.Join(dir, "memory.max")), readInt(filepath.Join(dir, "memory.limit_in_bytes"))) >> 20
	}
	ctx, dir := t.Context(), t.TempDir()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if got := allowed(); got < limit*17/10 {
		t.Errorf("with the checkpoint's pages it may have %d MiB", got)
	}
	b.Tidy()
	if used := h.driver.cgroups.memoryOf(b.spec.ID); used.all-used.clean > limit<<20 && allowed() == limit {
		t.Error("the limit is back although the guest would not survive it")
	}
	unix.Sync() // now the pages can go
	b.Tidy()
	if got := allowed(); got != limit {
		t.Errorf("it may have %d MiB, of %d", got, limit)
	}
	if err := b.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "1")
	h.start("copy-of-full", dir).want("/count", "1")
}

// TestFailedCheckpoint leaves the guest frozen and alive.
func TestFailedCheckpoint(t *testing.T) {
	b := newHost(t).start("fails", "")
	b.want("/count", "1")
	ctx := context.Background()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Checkpoint(ctx, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a checkpoint into nowhere succeeded")
	}
	if err := b.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
}

// TestCheckpointOfARunningGuest lets it go on, whether it succeeds or not.
func TestCheckpointOfARunningGuest(t *testing.T) {
	h := newHost(t)
	b := h.start("running", "")
	b.want("/count", "1")
	ctx := context.Background()
	if err := b.Checkpoint(ctx, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a checkpoint into nowhere succeeded")
	}
	b.want("/count", "2")
	dir := t.TempDir()
	if err := b.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "3")
	h.start("copy-of-running", dir).want("/count", "3")
}
