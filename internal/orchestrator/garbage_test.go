package orchestrator

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/image"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestCollect removes what nothing refers to, and only that. A build that the store knows
// again can be used again.
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

	if c, err := n.collect(); err != nil || c.Builds+c.Snapshots+c.Images != 0 || c.Kernels != 1 {
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
	if c, err := n.collect(known); err != nil || c.Builds != 1 || c.Snapshots != 1 || c.Images != 1 || c.InTrash != 2 {
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
	if c, err := n.collect(known, forgotten); err != nil || c.Restored != 1 || c.InTrash != 1 {
		t.Errorf("of what is known again: %+v %v", c, err)
	}
	spec := n.spec()
	spec.BuildID = forgotten
	_, err = n.orch.Create(ctx, spec)
	n.must(err)
	n.resume(paused)
}

// TestCollectBesideDamage: snapshots whose descriptions cannot be read keep what they may need,
// nothing else, and are named.
func TestCollectBesideDamage(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	b, err := n.orch.Snapshot(ctx, sb.SandboxID, shoal.SnapshotTarget{TemplateID: "snap", BuildID: shoal.NewBuildID()})
	n.must(err)
	paused := n.create()
	n.pause(paused)
	n.rested(paused)
	long := time.Now().Add(-time.Hour)
	put := func(text string) (path string) {
		t.Helper()
		tree := image.NewTree()
		n.must(tree.Put("file", image.NewFile(0o644, []byte(text))))
		digest, _, err := n.store.Put(tree)
		n.must(err)
		path, err = n.store.Path(digest)
		n.must(err)
		n.must(os.Chtimes(path, long, long))
		return path
	}
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	kernel := filepath.Join(n.dir, "kernels", "old")
	damage := func(names ...string) {
		t.Helper()
		for _, name := range names {
			dir := filepath.Join(n.dir, "data", "artifacts", name)
			n.must(os.MkdirAll(dir, 0o700))
			n.must(os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{"), 0o600))
			at := time.Now().Add(-2 * collectAge)
			n.must(os.Chtimes(dir, at, at))
		}
	}
	want := func(named []string, kept, gone []string, known ...string) shoal.Collected {
		t.Helper()
		n.must(os.MkdirAll(kernel, 0o755))
		c, err := n.collect(known...)
		if (err == nil) != (len(named) == 0) || err != nil && !shoal.ErrSnapshotDamaged.Matches(err) {
			t.Errorf("error %v", err)
		}
		for _, name := range named {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s is not named: %v", name, err)
			}
		}
		for _, path := range kept {
			if !exists(path) {
				t.Errorf("%s is gone", path)
			}
		}
		for _, path := range gone {
			if exists(path) {
				t.Errorf("%s is left", path)
			}
		}
		return c
	}

	// Of a pause, its sandbox knows what it needs.
	pause := ""
	list, err := n.orch.snapshots.Artifacts().List()
	n.must(err)
	for _, m := range list {
		if _, ok := snapshot.PauseOf(m.ID); ok {
			pause = m.ID
		}
	}
	damage(pause, snapshot.PauseName("iunknown"), snapshot.ForkName("iunknown"))
	c := want([]string{pause}, nil, []string{put("one"), kernel}, b.ID)
	if c.Snapshots != 2 {
		t.Errorf("%+v", c)
	}
	// Of a build, nobody does. The file system tells when an image was made, so the snapshot
	// is made older or younger than that.
	name := snapshot.BuildName(b.ID)
	unused := put("two")
	damage(name)
	want([]string{pause, name}, []string{kernel}, []string{unused}, b.ID)
	unused = put("three")
	at := time.Now().Add(time.Minute) // as if it were
	dir := filepath.Join(n.dir, "data", "artifacts", name)
	n.must(os.Chtimes(dir, at, at))
	want([]string{pause, name}, []string{kernel, unused, dir}, nil, b.ID)
	// A forgotten build goes, and all with it.
	damage(name)
	c = want([]string{pause}, nil, []string{kernel, unused, dir})
	if c.Builds != 1 {
		t.Errorf("%+v", c)
	}
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
	if c, err := n.collect(); err != nil || c.Images != 0 {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// collect has garbage collected by a store that knows these builds, and has had and lost
// all others.
func (n *node) collect(known ...string) (shoal.Collected, error) {
	n.t.Helper()
	inventory := shoal.Inventory{Installation: "this", Builds: known}
	list, err := n.orch.snapshots.Artifacts().ListAll()
	n.must(err)
	for _, m := range list {
		if build, isBuild, _ := ownerOf(m); isBuild {
			inventory.Ended = append(inventory.Ended, build)
		}
	}
	return n.orch.Collect(context.Background(), inventory, shoal.CollectOptions{})
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
