package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func assignments(t *testing.T, s *Store, templateID string) int64 {
	t.Helper()
	n, err := s.q.CountAssignments(t.Context(), templateID)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAssignmentsDoNotPileUp: what leads to nothing any more is removed, and of a tag's history
// the newest part is kept.
func TestAssignmentsDoNotPileUp(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		if err := s.CreateTemplate(ctx, shoal.Template{ID: "t1", TeamID: team.ID}); err != nil {
			t.Fatal(err)
		}
		a, b := makeBuild("a", start), makeBuild("b", start)
		for _, build := range []shoal.Build{a, b} {
			if err := s.AddBuild(ctx, build, "v"); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 75 {
			for j, build := range []shoal.Build{a, b} {
				if err := s.AssignTags(ctx, build, start.Add(time.Duration(2*i+j+1)*time.Minute), "v"); err != nil {
					t.Fatal(err)
				}
				if now, err := s.ReadyBuild(ctx, "t1", "v"); err != nil || now.ID != build.ID {
					t.Errorf("v is %s, %v", now.ID, err)
				}
			}
		}
		if n := assignments(t, s, "t1"); n != 100 {
			t.Errorf("%d assignments after moving a tag to and fro", n)
		}
		var tpl shoal.Template
		for i := range 10 { // each fails the one before
			var err error
			r := registration(team, fmt.Sprint("w", i), start.Add(time.Duration(i)*time.Second), "x", "y")
			if tpl, err = s.RegisterBuild(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		if n := assignments(t, s, tpl.ID); n > 4 {
			t.Errorf("%d assignments, most of them to failed builds", n)
		}
		if now, err := s.NewestBuild(ctx, tpl.ID, "x"); err != nil || now.ID != "w9" {
			t.Errorf("x is %s, %v", now.ID, err)
		}
	})
}

// TestAssignmentsAreBounded: beyond the bound nothing changes.
func TestAssignmentsAreBounded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		tpl, err := s.RegisterBuild(ctx, registration(team, "b1", start, "default"))
		if err != nil {
			t.Fatal(err)
		}
		damage(t, location, fmt.Sprintf(`
			INSERT INTO build_assignments (template_id, tag, created_at, build_id)
			WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d)
			SELECT '%s', 'tag' || n, 1, 'b1' FROM s`, MaxAssignments-2, tpl.ID))
		b, err := s.Build(ctx, tpl.ID, "b1")
		if err != nil {
			t.Fatal(err)
		}
		later := start.Add(time.Minute)
		if err := s.AssignTags(ctx, b, later, "one", "two"); !errors.Is(err, ErrTooManyTags) {
			t.Errorf("one more than may be: %v", err)
		}
		if _, err := s.RegisterBuild(ctx, registration(team, "b2", later, "one", "two")); !errors.Is(err, ErrTooManyTags) {
			t.Errorf("a build with too many: %v", err)
		}
		if n := assignments(t, s, tpl.ID); n != MaxAssignments-1 {
			t.Errorf("%d assignments after refusals", n)
		}
		if err := s.AssignTags(ctx, b, later, "one", "default", "tag7"); err != nil {
			t.Errorf("as many as may be: %v", err)
		}
		if err := s.RemoveTags(ctx, tpl.ID, "tag1"); err != nil {
			t.Fatal(err)
		}
		if err := s.AssignTags(ctx, b, later, "two"); err != nil {
			t.Errorf("after a removal: %v", err)
		}
	})
}
