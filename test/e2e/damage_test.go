package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// damages are ways to damage a snapshot's files, each with the error that results, or none
// if sandboxes can still be made from the disk.
var damages = []struct {
	name, code string
	do         func(t *testing.T, dir string)
}{
	{"in the middle of the memory", "",
		func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "pages.img"), 1<<20) }},
	{"at the head of the state", "",
		func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "checkpoint.img"), 0) }},
	{"in the middle of the state", "",
		func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "checkpoint.img"), 100_000) }},
	{"in the state and on the disk", "snapshot.damaged", func(t *testing.T, dir string) {
		overwrite(t, filepath.Join(dir, "checkpoint.img"), 0)
		overwrite(t, filepath.Join(dir, "disk.tar"), 512)
	}},
	{"cut short", "snapshot.damaged", func(t *testing.T, dir string) {
		if err := os.Truncate(filepath.Join(dir, "pages.img"), 4096); err != nil {
			t.Fatal(err)
		}
	}},
	{"lost", "snapshot.missing", func(t *testing.T, dir string) {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}},
}

// overwrite changes some bytes of a file.
func overwrite(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 64)
	if _, err := f.ReadAt(data, at); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] ^= 0xff
	}
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

// artifacts lists the directories of an installation's snapshots.
func (b *box) artifacts(t *testing.T, prefix string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(b.DataDir, "artifacts", prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// snapshot makes a snapshot of a sandbox and finds its files.
func (b *box) snapshot(t *testing.T, c created) (id, dir string) {
	t.Helper()
	before := b.artifacts(t, "build-")
	var made struct{ SnapshotID string }
	if err := json.Unmarshal([]byte(b.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/snapshots", `{}`)),
		&made); err != nil {
		t.Fatal(err)
	}
	added := slices.DeleteFunc(b.artifacts(t, "build-"),
		func(d string) bool { return slices.Contains(before, d) })
	if len(added) != 1 {
		t.Fatalf("the snapshot's files: %v", added)
	}
	return made.SnapshotID, added[0]
}

// copyOf starts a sandbox from a snapshot and checks the mark.
func (b *box) copyOf(t *testing.T, snapshot string) {
	t.Helper()
	c := b.createOf(t, snapshot)
	b.read(t, c, "/dev/shm/mark", "in memory")
	b.demand(t, 204, "DELETE", "/sandboxes/"+c.SandboxID, "")
}

// coldCopyOf starts a sandbox from a snapshot whose memory is damaged. The sandbox has only
// the disk, and says so.
func (b *box) coldCopyOf(t *testing.T, snapshot string) {
	t.Helper()
	c := b.createOf(t, snapshot)
	if detail := b.demand(t, 200, "GET", "/sandboxes/"+c.SandboxID, ""); !strings.Contains(detail,
		`"coldBoot":true`) {
		t.Errorf("the detail does not say that the memory is lost: %s", detail)
	}
	b.read(t, c, "/home/user/mark", "on disk")
	if status, text := b.file(t, c, "GET", "/dev/shm/mark", nil); status != 404 {
		t.Errorf("the memory is there: %d %s", status, text)
	}
	b.demand(t, 204, "DELETE", "/sandboxes/"+c.SandboxID, "")
}

// TestDamage damages the files of one snapshot after the other. New sandboxes start from
// its disk if that is intact; otherwise they fail with a named error. The machine and
// everything else are not affected. A paused sandbox whose memory is lost boots from its
// disk.
func TestDamage(t *testing.T) {
	r := another(t, "damage", nil, "SHOAL_REST_TIME=0")
	source := r.create(t)
	r.write(t, source, "/dev/shm/mark", "in memory")
	r.write(t, source, "/home/user/mark", "on disk")
	good, _ := r.snapshot(t, source)
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			bad, dir := r.snapshot(t, source)
			d.do(t, dir)
			for range 2 {
				if d.code != "" {
					r.refused(t, d.code, "POST", "/v2/sandboxes", `{"templateID":"`+bad+`","timeout":60}`)
				} else {
					r.coldCopyOf(t, bad)
				}
			}
			r.demand(t, 200, "GET", "/health", "")
			r.copyOf(t, good)
			r.read(t, source, "/dev/shm/mark", "in memory")
			r.demand(t, 204, "DELETE", "/templates/"+bad, "")
		})
	}
	if list := r.demand(t, 200, "GET", "/v2/sandboxes?state=running,paused", ""); strings.Count(list,
		`"sandboxID"`) != 1 {
		t.Errorf("a create that failed is listed: %s", list)
	}

	r.demand(t, 204, "POST", "/sandboxes/"+source.SandboxID+"/pause", `{}`)
	memory := "pause-" + source.SandboxID + "-"
	r.stop(syscall.SIGTERM) // a guest that is still resting would come back with its memory
	r.up()
	if n := len(r.artifacts(t, memory+"*-disk")); n != 1 {
		t.Fatalf("%d disks are kept apart, want one", n)
	}
	for _, dir := range r.artifacts(t, memory) {
		if !strings.HasSuffix(dir, "-disk") {
			if err := os.Truncate(filepath.Join(dir, "pages.img"), 4096); err != nil {
				t.Fatal(err)
			}
		}
	}
	if said := r.demand(t, 201, "POST", "/sandboxes/"+source.SandboxID+"/connect",
		`{"timeout":300}`); !strings.Contains(said, `"coldBoot":true`) {
		t.Errorf("the answer does not say that the memory is lost: %s", said)
	}
	r.read(t, source, "/home/user/mark", "on disk")
}
