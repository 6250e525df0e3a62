package snapshot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	artifacts, err := artifact.Open(t.TempDir())
	must(t, err)
	return NewStore(artifacts)
}

// keep makes a snapshot of the given files, as a guest would.
func (s *Store) keep(t *testing.T, name string, description any, files ...string) {
	t.Helper()
	draft, err := s.artifacts.Draft(name)
	must(t, err)
	for _, file := range files {
		must(t, os.WriteFile(filepath.Join(draft.Dir(), file), []byte("content"), 0o600))
	}
	_, err = draft.Commit(description)
	must(t, err)
}

func (s *Store) damage(t *testing.T, name, file string) {
	t.Helper()
	a, err := s.artifacts.Get(name)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(a.Dir, file), []byte("Content"), 0o600))
}

func TestNames(t *testing.T) {
	name := PauseName("i1")
	if name == PauseName("i1") {
		t.Error("two pauses have one name")
	}
	for _, saved := range []Saved{{Artifact: name}, {Artifact: name, Memory: true}} {
		disk := saved.DiskName()
		if (disk == name) == saved.Memory {
			t.Errorf("memory %v: the disk is in %q", saved.Memory, disk)
		}
		if pause, ok := PauseOf(disk); !ok || pause != name {
			t.Errorf("%q is of the pause %q, %v", disk, pause, ok)
		}
	}
	for _, other := range []string{BuildName("b"), ForkName("i1")} {
		if _, ok := PauseOf(other); ok {
			t.Errorf("%q is a pause's", other)
		}
	}
}

// TestWhatIsWrongWithASnapshot: it is missing, or its description cannot be read.
func TestWhatIsWrongWithASnapshot(t *testing.T) {
	s := newStore(t)
	if _, err := s.Source("none"); !shoal.ErrSnapshotMissing.Matches(err) {
		t.Errorf("none: %v", err)
	}
	s.keep(t, "odd", json.RawMessage(`{"root":7}`))
	if _, err := s.Source("odd"); !shoal.ErrSnapshotDamaged.Matches(err) {
		t.Errorf("odd: %v", err)
	}
}

// TestSourceOfASnapshot: a guest comes back from a checkpoint by what took it, and the bytes
// are checked when that is asked for.
func TestSourceOfASnapshot(t *testing.T) {
	s := newStore(t)
	// As every version of Shoal has written it.
	s.keep(t, "c", json.RawMessage(`{"runtime":"r","version":"1","kernel":"k","root":"/a","memory":true}`), "memory")
	from, err := s.Source("c")
	must(t, err)
	if from.Root != "/a" || from.Made != (runtime.Maker{Runtime: "r", Version: "1", Kernel: "k"}) ||
		filepath.Base(from.Checkpoint) != "c" {
		t.Errorf("%+v", from)
	}
	must(t, from.Verify())
	s.damage(t, "c", "memory")
	if err := from.Verify(); !shoal.ErrSnapshotDamaged.Matches(err) {
		t.Errorf("damaged: %v", err)
	}
}

// TestDiskAlone starts only by the runtime that wrote it, and only if it is whole.
func TestDiskAlone(t *testing.T) {
	s := newStore(t)
	saved := Saved{Artifact: PauseName("i1"), Memory: true}
	s.keep(t, saved.DiskName(), Capture{Maker: runtime.Maker{Runtime: "r"}, Root: "/a"}, DiskFile)
	from, err := s.DiskSource(saved)
	must(t, err)
	if from.Checkpoint != "" || from.Root != "/a" || filepath.Base(from.Upper) != DiskFile ||
		from.Runtime != (shoal.RuntimeWish{Name: "r", Required: true}) {
		t.Errorf("%+v", from)
	}
	s.damage(t, saved.DiskName(), DiskFile)
	if _, err := s.DiskSource(saved); !shoal.ErrSnapshotDamaged.Matches(err) {
		t.Errorf("damaged: %v", err)
	}
	must(t, s.Drop(saved))
	if _, err := s.DiskSource(saved); !shoal.ErrSnapshotMissing.Matches(err) {
		t.Errorf("dropped: %v", err)
	}
}

// TestBuildWithADisk: sandboxes of a snapshot can begin with its disk, whose bytes are
// checked apart from the memory's.
func TestBuildWithADisk(t *testing.T) {
	s := newStore(t)
	c := Capture{Maker: runtime.Maker{Runtime: "r"}, Root: "/a", Memory: true}
	s.keep(t, BuildName("without"), c, "memory")
	s.keep(t, BuildName("with"), c, "memory", DiskFile)
	of := func(id string) guest.Source {
		t.Helper()
		from, err := s.BuildSource(id)
		must(t, err)
		return from
	}
	if of("without").Cold != nil {
		t.Error("a disk that was not kept can be started from")
	}
	cold := of("with").Cold
	if cold == nil || cold.Root != "/a" || cold.Checkpoint != "" || filepath.Base(cold.Upper) != DiskFile {
		t.Fatalf("%+v", cold)
	}
	s.damage(t, BuildName("with"), "memory")
	must(t, cold.Verify())
	s.damage(t, BuildName("with"), DiskFile)
	if err := cold.Verify(); !shoal.ErrSnapshotDamaged.Matches(err) {
		t.Errorf("damaged: %v", err)
	}
}
