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

// Run holds a runtime to what package runtime promises. open makes a runtime that nothing
// else uses and that is closed when the test ends. lacks names the promises that the runtime cannot
// keep, with the reason; its documentation says so too.
func Run(t *testing.T, open func(t *testing.T) runtime.Runtime, lacks map[string]string) {
	for _, list := range [][]promise{starts, checkpoints, adoptions, volumes, likeLinux} {
		for _, p := range list {
			t.Run(p.name, func(t *testing.T) {
				t.Log(p.what)
				if why, ok := lacks[p.name]; ok {
					t.Skipf("not kept: %s", why)
				}
				p.hold(t, NewHost(t, open(t)))
			})
		}
	}
}
