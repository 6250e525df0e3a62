package orchestrator

import (
	"context"
	"errors"
	"testing"

	"shoal/internal/artifact"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestRemovedBuildStaysWhileItIsStarted: a build that is deleted while a guest starts from it
// goes when that start is over, and nothing starts from it meanwhile.
func TestRemovedBuildStaysWhileItIsStarted(t *testing.T) {
	artifacts, err := artifact.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	snapshots := snapshot.NewStore(artifacts)
	o := &Orchestrator{builds: newBuilds(&Config{}, nil, snapshots), snapshots: snapshots}
	there := func(id string) bool {
		_, _, err := snapshots.Get(snapshot.BuildName(id))
		return err == nil
	}
	put := func(id string) {
		t.Helper()
		draft, err := artifacts.Draft(snapshot.BuildName(id))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := draft.Commit(snapshot.Capture{}); err != nil {
			t.Fatal(err)
		}
		o.builds.add(shoal.Build{ID: id, TemplateID: "t-" + id, Snapshot: true}, 0)
	}
	put("b1")
	_, first, err := o.builds.begin("b1")
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := o.builds.begin("b1")
	if err != nil {
		t.Fatal(err)
	}
	removed := make(chan error, 1)
	go func() { removed <- o.RemoveBuild(t.Context(), "b1") }()
	for started := true; started; _, started = o.builds.get("b1") {
	}
	if _, _, err := o.builds.begin("b1"); !shoal.ErrImageMissing.Matches(err) {
		t.Errorf("a start of what is deleted: %v", err)
	}
	first()
	if !there("b1") {
		t.Error("it is gone while a guest starts from it")
	}
	second()
	if err := <-removed; err != nil || there("b1") {
		t.Errorf("it stays: %v", err)
	}
	put("b2")
	_, done, err := o.builds.begin("b2")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.RemoveBuild(ctx, "b2"); !errors.Is(err, context.Canceled) || !there("b2") {
		t.Errorf("whose caller has gone: %v", err)
	}
	done()
}
