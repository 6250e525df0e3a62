package orchestrator

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/network"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// damage flips a bit of an artifact, or removes it.
func (n *node) damage(artifact string, remove bool) {
	n.t.Helper()
	a, err := n.orch.snapshots.Artifacts().Get(artifact)
	n.must(err)
	if remove {
		n.must(os.RemoveAll(a.Dir))
		return
	}
	n.flip(filepath.Join(a.Dir, a.Files[0].Name), -1)
}

// flip changes a byte of a file; a negative place counts from the end.
func (n *node) flip(path string, at int) {
	n.t.Helper()
	data, err := os.ReadFile(path)
	n.must(err)
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 1
	n.must(os.WriteFile(path, data, 0o600))
}

// wreck makes a checkpoint unfit even to begin with.
func (n *node) wreck(artifact string) {
	n.t.Helper()
	a, err := n.orch.snapshots.Artifacts().Get(artifact)
	n.must(err)
	for _, f := range a.Files {
		if f.Name != snapshot.DiskFile {
			n.flip(filepath.Join(a.Dir, f.Name), 0)
		}
	}
}

// TestDamagedSnapshotIsNamed and concerns its sandbox alone.
func TestDamagedSnapshotIsNamed(t *testing.T) {
	n := newNode(t)
	sb, other := n.create(), n.create()
	n.pause(sb)
	n.pause(other)
	n.rested(sb)
	name := n.orch.table.byID[sb.SandboxID].saved.Artifact
	n.damage(snapshot.Saved{Artifact: name, Memory: true}.DiskName(), true)
	for i, want := range []*shoal.Kind{shoal.ErrSnapshotDamaged, shoal.ErrSnapshotDamaged, shoal.ErrSnapshotMissing} {
		if i == 1 {
			n.wreck(name)
		} else {
			n.damage(name, i == 2)
		}
		_, err := n.orch.Resume(context.Background(), sb.SandboxID, shoal.ResumeOptions{Timeout: time.Minute})
		if !want.Matches(err) {
			t.Errorf("got %v, want %s", err, want.Code)
		}
		if got := n.state(sb); got != shoal.StatePaused {
			t.Errorf("state = %s", got)
		}
	}
	n.resume(other)
	n.must(n.orch.Kill(context.Background(), sb.SandboxID, shoal.KillRequest))
	n.gone(sb)
}

// TestMemoryLost: the sandbox boots from its disk, and says so.
func TestMemoryLost(t *testing.T) {
	for name, spoil := range map[string]func(n *node, artifact string){
		"damaged": func(n *node, artifact string) { n.damage(artifact, false) },
		"missing": func(n *node, artifact string) { n.damage(artifact, true) },
		"no kernel": func(n *node, artifact string) {
			a, c, err := n.orch.snapshots.Get(artifact)
			n.must(err)
			c.Kernel = "another"
			draft, err := n.orch.snapshots.Artifacts().Draft(artifact)
			n.must(err)
			for _, f := range a.Files {
				n.must(os.Link(filepath.Join(a.Dir, f.Name), filepath.Join(draft.Dir(), f.Name)))
			}
			_, err = draft.Commit(c)
			n.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			sb := n.create()
			n.write(sb, "/root/kept", "x")
			n.pause(sb)
			n.rested(sb)
			spoil(n, n.orch.table.byID[sb.SandboxID].saved.Artifact)
			back := n.resume(sb)
			if !back.ColdBoot || n.read(back, "/root/kept") != "x" || !n.answers(back) {
				t.Errorf("%+v", back)
			}
			n.noSnapshots()
			// From here on it has memory again.
			n.write(back, "/root/more", "y")
			n.pause(back)
			n.rested(back)
			back = n.resume(back)
			if back.ColdBoot || n.read(back, "/root/kept") != "x" || n.read(back, "/root/more") != "y" {
				t.Errorf("the second time: %+v", back)
			}
		})
	}
}

// TestDamagedSnapshotBoots: sandboxes of a snapshot begin with its disk if its memory is
// of no use, and say so; without either they are refused, and nothing else is.
func TestDamagedSnapshotBoots(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	n.write(sb, "/root/kept", "x")
	build, err := n.orch.Snapshot(ctx, sb.SandboxID, shoal.SnapshotTarget{TemplateID: "snap", BuildID: shoal.NewBuildID()})
	n.must(err)
	if n.state(sb) != shoal.StateRunning || n.read(sb, "/root/kept") != "x" {
		t.Error("the original does not go on")
	}
	create := func() (shoal.Sandbox, error) {
		spec := n.spec()
		spec.BuildID, spec.TemplateID, spec.EnvVars = build.ID, "snap", nil
		return n.orch.Create(ctx, spec)
	}
	n.wreck(snapshot.BuildName(build.ID))
	cold, err := create()
	n.must(err)
	if !cold.ColdBoot || n.read(cold, "/root/kept") != "x" || !n.answers(cold) {
		t.Errorf("%+v", cold)
	}
	a, err := n.orch.snapshots.Artifacts().Get(snapshot.BuildName(build.ID))
	n.must(err)
	n.flip(filepath.Join(a.Dir, snapshot.DiskFile), -1)
	if refused, err := create(); !shoal.ErrSnapshotDamaged.Matches(err) {
		t.Errorf("%+v %v", refused, err)
	}
	if again := n.create(); !n.answers(again) {
		t.Error("the machine does not go on")
	}
}

// TestPolicyOfAnotherVersion: a sandbox whose policy only a later version knows is kept, and
// reaches nothing when it starts anew.
func TestPolicyOfAnotherVersion(t *testing.T) {
	n := newNode(t)
	running, paused := n.create(), n.create()
	n.pause(paused)
	n.rested(paused)
	n.close()
	for _, sb := range []shoal.Sandbox{running, paused} {
		path := recordPath(n.orch.records.live, sb.SandboxID)
		var r record
		data, err := os.ReadFile(path)
		n.must(err)
		n.must(json.Unmarshal(data, &r))
		r.Sandbox.Network.AllowOut = []string{"of.a.later.version"}
		data, err = json.Marshal(r)
		n.must(err)
		n.must(os.WriteFile(path, data, 0o600))
	}
	n.open()
	if got := n.state(running); got != shoal.StateRunning || !n.answers(running) {
		t.Errorf("the running one is %q", got)
	}
	paused = n.resume(paused)
	if !n.orch.table.byID[paused.SandboxID].egress.Equal(network.Nowhere()) || !n.answers(paused) {
		t.Error("the paused one may reach more than it could have")
	}
}

// TestRecordsThatFail: one sandbox whose record or guest cannot be had now neither keeps
// the machine from its start nor is removed.
func TestRecordsThatFail(t *testing.T) {
	n := newNode(t)
	odd, fine := n.create(), n.create()
	n.write(fine, "/root/kept", "x")
	n.close()
	path := filepath.Join(n.dir, "data", "sandboxes", "iunreadable.json")
	n.must(os.WriteFile(path, []byte("{"), 0o600))
	files, err := filepath.Glob(filepath.Join(n.dir, "run", "guests", odd.SandboxID+"-*", "guest.json"))
	if n.must(err); len(files) != 1 {
		t.Fatalf("the runtime's record: %v", files)
	}
	whole, err := os.ReadFile(files[0])
	n.must(err)
	n.must(os.WriteFile(files[0], whole[:len(whole)/2], 0o600))
	n.open()
	if _, err := os.Stat(path + asideSuffix); err != nil {
		t.Error(err)
	}
	if n.state(odd) != shoal.StateRunning || len(n.liveKernels(odd.SandboxID)) != 1 {
		t.Errorf("state %q, %d kernels", n.state(odd), len(n.liveKernels(odd.SandboxID)))
	}
	n.close()
	n.open()
	if got := n.read(fine, "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
	n.close()
	n.must(os.WriteFile(files[0], whole, 0o600))
	n.open()
	if n.state(odd) != shoal.StateRunning || !n.answers(odd) {
		t.Errorf("the next start: %q", n.state(odd))
	}
}
