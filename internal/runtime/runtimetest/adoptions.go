package runtimetest

import (
	"context"
	"errors"
	"testing"

	"shoal/internal/runtime"
)

var adoptions = []promise{
	{"adopted", "a guest can be taken over, and what nobody names is removed", adoption},
	{"adopted-frozen", "a guest that was frozen by another process thaws", adoptionOfAFrozenGuest},
}

func adoption(t *testing.T, h *Host) {
	g := h.Start("adopted", "")
	g.Want("/count", "1")
	again := g.Adopt()
	if err := again.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := again.Thaw(context.Background()); err != nil {
		t.Fatal(err)
	}
	g.Want("/count", "2")
	if err := h.Runtime.Reclaim(context.Background(), func(id string) bool { return id == "adopted" }); err != nil {
		t.Fatal(err)
	}
	g.Want("/count", "3")
	gone := g.Spec
	gone.ID, gone.Dir = "never", t.TempDir()
	if _, err := h.Runtime.Adopt(context.Background(), gone); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("adopting nothing: %v", err)
	}
	if err := h.Runtime.Reclaim(context.Background(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	g.Ends("a reclaim that does not name it")
}

// adoptionOfAFrozenGuest: a process that takes a guest over cannot know whether it was
// frozen; thawing must work either way, and a thaw too many must not harm it.
func adoptionOfAFrozenGuest(t *testing.T, h *Host) {
	g := h.Start("frozen", "")
	g.Want("/count", "1")
	ctx := context.Background()
	if err := g.Adopt().Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	g.Want("/count", "2")
	for range 2 {
		if err := g.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
	}
	again := g.Adopt()
	for range 2 {
		if err := again.Thaw(ctx); err != nil {
			t.Fatal(err)
		}
	}
	g.Want("/count", "3")
}
