package orchestrator

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/image"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestCollect removes what nothing refers to, and only that.
func TestCollect(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	take := func() string {
		t.Helper()
		b, err := n.orch.Snapshot(ctx, sb.SandboxID, shoal.SnapshotTarget{TemplateID: "snap", BuildID: shoal.NewBuildID()})
		n.must(err)
		return b.ID
	}
	known, forgotten := take(), take()
	paused := n.create()
	n.pause(paused)
	n.rested(paused)
	draft, err := n.orch.snapshots.Artifacts().Draft(snapshot.PauseName("iunknown"))
	n.must(err)
	_, err = draft.Commit(snapshot.Capture{Root: "/gone"})
	n.must(err)
	tree := image.NewTree()
	n.must(tree.Put("file", image.NewFile(0o644, []byte("of no build"))))
	unused, _, err := n.store.Put(tree)
	n.must(err)
	n.must(os.MkdirAll(filepath.Join(n.dir, "kernels", "old"), 0o755))

	if c, err := n.orch.Collect(ctx, nil); err != nil || c.Builds+c.Snapshots+c.Images != 0 || c.Kernels != 1 {
		t.Errorf("of new things: %+v %v", c, err)
	}
	n.age()
	path, err := n.store.Path(unused)
	n.must(err)
	long := time.Now().Add(-time.Hour)
	for _, digest := range []string{unused, n.build.ImageDigest} {
		path, err := n.store.Path(digest)
		n.must(err)
		n.must(os.Chtimes(path, long, long))
	}
	if c, err := n.orch.Collect(ctx, []string{known}); err != nil || c.Builds != 1 || c.Snapshots != 1 || c.Images != 1 {
		t.Errorf("of old things: %+v %v", c, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the unused image is left")
	}
	for id, want := range map[string]bool{known: true, forgotten: false} {
		spec := n.spec()
		spec.BuildID = id
		if _, err := n.orch.Create(ctx, spec); (err == nil) != want {
			t.Errorf("a sandbox of a build that is known: %v, %v", want, err)
		}
	}
	n.resume(paused)
}

// TestCollectDuringAResume: what a paused sandbox needs stays while it changes over from
// its snapshot to a guest, although the collection may see neither.
func TestCollectDuringAResume(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	n.pause(sb)
	n.rested(sb)
	n.orch.builds.drop(n.build.ID)
	path, err := n.store.Path(n.build.ImageDigest)
	n.must(err)
	long := time.Now().Add(-time.Hour)
	n.must(os.Chtimes(path, long, long))
	// It is asked for when the sandboxes have been looked at, and the snapshots not yet.
	n.orch.cfg.Pinned = func() ([]string, error) {
		n.resume(sb)
		n.noSnapshots()
		return nil, nil
	}
	if c, err := n.orch.Collect(context.Background(), nil); err != nil || c.Images != 0 {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// age makes every snapshot an hour old.
func (n *node) age() {
	n.t.Helper()
	list, err := n.orch.snapshots.Artifacts().List()
	n.must(err)
	for _, m := range list {
		path := filepath.Join(n.dir, "data", "artifacts", m.ID, "manifest.json")
		m.CreatedAt = m.CreatedAt.Add(-time.Hour)
		data, err := json.Marshal(m)
		n.must(err)
		n.must(os.WriteFile(path, data, 0o600))
	}
}
