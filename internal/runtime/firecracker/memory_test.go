package firecracker_test

import (
	"testing"

	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/runtime/runtimetest"
	"shoal/internal/shoal"
)

// TestUserfaultRefused: it is found out before a guest needs it.
func TestUserfaultRefused(t *testing.T) {
	if !runtimetest.WithoutUserfault(t) {
		return
	}
	if err := (program.Host{}).CheckMemory(); !shoal.ErrFirecrackerUserfault.Matches(err) {
		t.Errorf("userfaultfd is refused: %v", err)
	}
}

// TestLabUserfaultRefused: guests come back from files then, also from checkpoints of guests that have.
func TestLabUserfaultRefused(t *testing.T) {
	if !runtimetest.WithoutUserfault(t) {
		return
	}
	h := runtimetest.NewHost(t, open(t))
	g := h.Start("origin", "")
	g.Want("/count", "1")
	for _, step := range []struct{ id, count string }{{"once", "2"}, {"twice", "3"}} {
		dir := t.TempDir()
		if err := g.Checkpoint(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		g = h.Start(step.id, dir)
		g.Want("/count", step.count)
	}
}
