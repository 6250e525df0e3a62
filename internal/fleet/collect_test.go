package fleet

import (
	"context"
	"errors"
	"strings"
	"testing"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// TestRemoveBuildsEverywhere: a machine that fails keeps no other from removing builds, and
// is named.
func TestRemoveBuildsEverywhere(t *testing.T) {
	other := shoal.Build{ID: "b2", TemplateID: "base", Status: shoal.BuildReady}
	var nodes []*fleettest.Node
	for _, id := range []string{"n1", "n2", "n3"} {
		nodes = append(nodes, fleettest.New(id, build, other))
	}
	f := newFleet(t, nodes...)
	down := shoal.ErrNodeUnreachable.New("no route")
	nodes[0].SetDown(down)
	err := f.RemoveBuilds(t.Context(), build.ID, other.ID)
	if !errors.Is(err, down) || !strings.Contains(err.Error(), "n1") || strings.Contains(err.Error(), "n2") {
		t.Errorf("%v", err)
	}
	nodes[0].SetDown(nil)
	for i, n := range nodes[1:] {
		if info, err := n.Info(context.Background()); err != nil || len(info.Builds) != 0 {
			t.Errorf("machine %d still has %d builds, %v", i+2, len(info.Builds), err)
		}
	}
	if err := f.RemoveBuilds(t.Context(), build.ID); err != nil {
		t.Error(err)
	}
}
