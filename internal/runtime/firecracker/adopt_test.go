package firecracker_test

import (
	"path/filepath"
	"testing"

	"shoal/internal/runtime/firecracker/api"
	"shoal/internal/runtime/runtimetest"
)

// TestLabBrokenOff: who has a guest ends while that is written, before Firecracker has begun with it and after. The
// guest of the next one goes on, can be frozen, and can be written as a whole.
func TestLabBrokenOff(t *testing.T) {
	h := runtimetest.NewHost(t, open(t))
	for name, begun := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			h.T = t
			ctx := t.Context()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			g := h.Start(name, "")
			g.Want("/count", "1")
			sockets, err := filepath.Glob(filepath.Join(g.Spec.UpperDir, "firecracker", "*", "root", "api.sock"))
			if err != nil || len(sockets) != 1 {
				t.Fatalf("sockets of Firecracker: %v %v", sockets, err)
			}
			client := api.New(sockets[0])
			must(client.Pause(ctx))
			if begun {
				must(client.CreateSnapshot(ctx, api.Snapshot{Type: "Diff", State: "/new-state", Memory: "/new-memory"}))
			}
			again := g.Adopt()
			g.Want("/count", "2")
			must(again.Freeze(ctx))
			dir := t.TempDir()
			must(again.Checkpoint(ctx, dir))
			must(again.Thaw(ctx))
			g.Want("/count", "3")
			h.Start(name+"-copy", dir).Want("/count", "3")
		})
	}
}
