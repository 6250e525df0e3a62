package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestUntagged: what may be given up is only what no tag has led to for long.
func TestUntagged(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha")
		err := s.CreateTemplate(t.Context(), shoal.Template{ID: "t1", TeamID: team.ID, CreatedAt: start, UpdatedAt: start})
		if err != nil {
			t.Fatal(err)
		}
		at := start
		add := func(id string, change func(*shoal.Build), tags ...string) {
			at = at.Add(time.Hour)
			b := makeBuild(id, at)
			if change != nil {
				change(&b)
			}
			if err := s.AddBuild(t.Context(), b, tags...); err != nil {
				t.Fatal(err)
			}
		}
		add("replaced", nil, "default")                                                // 1 h
		add("pinned", nil, "default", "v1")                                            // 2 h
		add("bare", nil)                                                               // 3 h
		add("snapshot", func(b *shoal.Build) { b.SandboxID = "s" })                    // 4 h
		add("newest", nil, "default")                                                  // 5 h
		add("failed", func(b *shoal.Build) { b.Status = shoal.BuildError }, "default") // 6 h: does not count
		for since, want := range map[time.Duration][]string{
			30 * time.Minute:  nil,
			2 * time.Hour:     nil, // "replaced" was replaced just then
			150 * time.Minute: {"replaced"},
			24 * time.Hour:    {"bare", "replaced"},
		} {
			got, err := s.Untagged(t.Context(), start.Add(since))
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("since %s: %v %v, want %v", since, got, err, want)
			}
		}
		if err := s.RetireBuild(t.Context(), "replaced", "old", at); err != nil {
			t.Fatal(err)
		}
		if err := s.RetireBuild(t.Context(), "replaced", "old", at); !errors.Is(err, ErrNotFound) {
			t.Errorf("retired twice: %v", err)
		}
		b, err := s.Build(t.Context(), "t1", "replaced")
		if err != nil || b.Status != shoal.BuildError || b.Reason.Message != "old" {
			t.Errorf("retired: %+v %v", b, err)
		}
		known, err := s.BuildIDs(t.Context())
		slices.Sort(known)
		if err != nil || !slices.Equal(known, []string{"bare", "newest", "pinned", "snapshot"}) {
			t.Errorf("known: %v %v", known, err)
		}
	})
}
