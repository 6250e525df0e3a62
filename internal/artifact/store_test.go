package artifact

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, id, text string) *Artifact {
	t.Helper()
	d, err := s.Draft(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir(), "data"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := d.Commit(map[string]string{"of": id})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestLooseArtifacts: loose artifacts are whole while the machine is up, and can be
// verified once they are sealed.
func TestLooseArtifacts(t *testing.T) {
	s := open(t, t.TempDir())
	loosely := func(id string) *Artifact {
		t.Helper()
		d, err := s.Draft(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Dir(), "data"), []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.CommitLoose(id); err != nil {
			t.Fatal(err)
		}
		a, err := s.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	// More than one settleStep.
	large, err := s.Draft("large")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(large.Dir(), "data"),
		bytes.Repeat([]byte("hello"), settleStep/2), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := large.CommitLoose(nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal("large"); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Get("large"); err != nil || a.Boot != "" || a.Verify() != nil {
		t.Errorf("large: %v", err)
	}
	a := loosely("sealed")
	if err := a.Verify(); err != nil || a.Size() != 5 {
		t.Errorf("before: %v", err)
	}
	for range 2 {
		if err := s.Seal("sealed"); err != nil {
			t.Fatal(err)
		}
	}
	a, err = s.Get("sealed")
	if err != nil || a.Boot != "" || a.Verify() != nil {
		t.Fatalf("sealed: %+v %v", a, err)
	}
	if err := os.WriteFile(filepath.Join(a.Dir, "data"), []byte("hellO"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Verify(); err == nil {
		t.Error("the damage was not detected")
	}

	a = loosely("lost")
	a.Boot = "another run of the machine"
	if err := a.replaceManifest(); err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if a, err := s.Get("lost"); err != nil || !errors.As(a.Verify(), &corrupt) ||
		!errors.As(s.Seal("lost"), &corrupt) {
		t.Errorf("an artifact that was lost with the machine counts as whole: %v", err)
	}
	if err := s.Seal("never was"); err == nil {
		t.Error("an unknown name was accepted")
	}
	if err := s.Seal("never-was"); err != nil {
		t.Error(err)
	}
}

func TestCommittedArtifactIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir), "one", "hello")
	s := open(t, dir)
	a, err := s.Get("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Verify(); err != nil {
		t.Error(err)
	}
	if string(a.Meta) != `{"of":"one"}` || a.Size() != 5 {
		t.Errorf("got %+v", a.Manifest)
	}
	if err := s.Remove("one"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("one"); !errors.Is(err, ErrMissing) {
		t.Errorf("after Remove: %v", err)
	}
	if err := s.Remove("one"); err != nil {
		t.Errorf("a second Remove: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestCommitReplaces(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, "one", "old")
	put(t, s, "one", "newer")
	a, err := s.Get("one")
	if err != nil || a.Size() != 5 {
		t.Errorf("got %+v, %v", a, err)
	}
}

// TestDraftsDoNotOutliveTheirProcess also covers an interrupted removal.
func TestDraftsDoNotOutliveTheirProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	d, err := s.Draft("one")
	if err != nil {
		t.Fatal(err)
	}
	defer d.stopFlushing()
	if err := os.MkdirAll(filepath.Join(dir, oldErasePrefix+"1", "two"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if _, err := s.Get("one"); !errors.Is(err, ErrMissing) {
		t.Errorf("a draft is found: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestDamageIsNamed(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"changed":   func(p string) error { return os.WriteFile(p, []byte("hellO"), 0o600) },
		"truncated": func(p string) error { return os.Truncate(p, 2) },
		"missing":   os.Remove,
		"manifest": func(p string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(p), manifestFile), []byte("{"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			a := put(t, s, "one", "hello")
			if err := damage(filepath.Join(a.Dir, "data")); err != nil {
				t.Fatal(err)
			}
			a, err := s.Get("one")
			if err == nil {
				err = a.Verify()
			}
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.ID != "one" {
				t.Errorf("got %v", err)
			}
			if list, err := s.List(); err != nil || len(list) != 1 || list[0].ID != "one" {
				t.Errorf("a damaged artifact cannot be found to remove it: %v %v", list, err)
			}
		})
	}
}

func TestNamesStayInside(t *testing.T) {
	s := open(t, t.TempDir())
	for _, id := range []string{"", ".", "..", "a/b", "../a", ".draft-x", "a b"} {
		if _, err := s.Draft(id); err == nil {
			t.Errorf("%q was accepted", id)
		}
		if err := s.Remove(id); err == nil {
			t.Errorf("%q could be removed", id)
		}
	}
}
