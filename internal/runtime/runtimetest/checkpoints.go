package runtimetest

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
)

var checkpoints = []promise{
	{"frozen", "a checkpoint keeps memory and disk, under other names and addresses", checkpointOfAFrozenGuest},
	{"running", "a checkpoint lets a running guest go on, whether it succeeds or not", checkpointOfARunningGuest},
	{"failed-checkpoint", "a failed checkpoint leaves the guest frozen and alive", failedCheckpoint},
}

// checkpointOfAFrozenGuest restores it twice, while the original goes on.
func checkpointOfAFrozenGuest(t *testing.T, h *Host) {
	g := h.Start("origin", "")
	g.Want("/count", "1")
	g.Want("/fill?path=/kept&mb=1", "ok")
	ctx := context.Background()
	if err := g.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := g.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if err := g.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	g.Want("/count", "2")
	for n := range 2 {
		copied := h.Start(fmt.Sprintf("copy-%d", n), dir)
		copied.Want("/count", "2")
		copied.Want("/hostname", fmt.Sprintf("name-of-copy-%d", n))
		if _, data := copied.Ask("/read?path=/kept"); len(data) != 1<<20 {
			t.Errorf("the file in the writable layer has %d bytes", len(data))
		}
		copied.Want("/count", "3")
	}
	g.Want("/count", "3")
}

func failedCheckpoint(t *testing.T, h *Host) {
	g := h.Start("fails", "")
	g.Want("/count", "1")
	ctx := context.Background()
	if err := g.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.Checkpoint(ctx, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a checkpoint into nowhere succeeded")
	}
	if err := g.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	g.Want("/count", "2")
}

func checkpointOfARunningGuest(t *testing.T, h *Host) {
	g := h.Start("running", "")
	g.Want("/count", "1")
	ctx := context.Background()
	if err := g.Checkpoint(ctx, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a checkpoint into nowhere succeeded")
	}
	g.Want("/count", "2")
	dir := t.TempDir()
	if err := g.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	g.Want("/count", "3")
	h.Start("copy-of-running", dir).Want("/count", "3")
}
