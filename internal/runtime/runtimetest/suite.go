package runtimetest

import (
	"testing"

	"shoal/internal/runtime"
)

// promise is one thing that a runtime is held to.
type promise struct {
	name string // short: it is part of paths that the host's kernel limits
	what string // is promised
	hold func(t *testing.T, h *Host)
}

// Clocks say how time goes on for a guest that does not run, which is each runtime's own; its documentation
// says it too. The time of day is right afterwards in any case.
type Clocks struct {
	Frozen   Time // while it is frozen
	Restored Time // between a checkpoint and what is restored from it
}

// Time says which clocks go on; others stand still, with the timers that wait for them.
type Time struct{ Monotonic, Boot bool }

// Run holds a runtime to what package runtime promises, and to what it says of clocks. open makes a runtime that
// nothing else uses and that is closed when the test ends.
func Run(t *testing.T, open func(t *testing.T) runtime.Runtime, clocks Clocks) {
	for _, list := range [][]promise{starts, checkpoints, adoptions, volumes, likeLinux} {
		for _, p := range list {
			t.Run(p.name, func(t *testing.T) {
				t.Log(p.what)
				h := NewHost(t, open(t))
				h.Clocks = clocks
				p.hold(t, h)
			})
		}
	}
}
