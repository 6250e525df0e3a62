package doctor

import (
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/artifact"
)

// TestGarbage: a refused collection is a warning that says why, until one is not refused.
func TestGarbage(t *testing.T) {
	cfg := settings(t)
	want := func(level Level, found string) {
		t.Helper()
		r := checkGarbage(t.Context(), cfg)
		if r.Level != level || !strings.Contains(r.Found, found) || (r.Fix == "") != (level == OK) {
			t.Errorf("%+v", r)
		}
	}
	want(OK, "0 snapshot(s)")
	s, err := artifact.Open(filepath.Join(cfg.DataDir, "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	draft, err := s.Draft("one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := draft.Commit(nil); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		change func() error
		level  Level
		found  string
	}{
		{func() error { return s.NoteRefusal("it is another's") }, Warn, "it is another's"},
		{func() error { return s.NoteRefusal("") }, OK, "0 snapshot(s)"},
		{func() error { return s.Trash("one") }, OK, "1 snapshot(s)"},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		want(step.level, step.found)
	}
}
