package store

import (
	"reflect"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestTagHistory: a tag that moves keeps its history, of ready builds only.
func TestTagHistory(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx, team := t.Context(), makeTeam(t, s, "alpha")
		if err := s.CreateTemplate(ctx, shoal.Template{ID: "t1", TeamID: team.ID, CreatedAt: start}); err != nil {
			t.Fatal(err)
		}
		first, failed, second := makeBuild("b1", start), makeBuild("b2", start), makeBuild("b3", start)
		failed.Status = shoal.BuildError
		for _, b := range []shoal.Build{first, failed, second} {
			if err := s.AddBuild(ctx, b, "live"); err != nil { // all at the same time
				t.Fatal(err)
			}
		}
		if err := s.AddBuild(ctx, shoal.Build{ID: "b4", TemplateID: "t1", Status: shoal.BuildWaiting, CreatedAt: start}, "next"); err != nil {
			t.Fatal(err)
		}
		third := makeBuild("b5", start.Add(time.Second))
		if err := s.AddBuild(ctx, third, "live"); err != nil {
			t.Fatal(err)
		}
		back := start.Add(time.Minute)
		if err := s.AssignTags(ctx, first, back, "live", "old"); err != nil {
			t.Fatal(err)
		}
		tags, err := s.ReadyTags(ctx, "t1")
		got := map[string]time.Time{}
		for _, tag := range tags {
			got[tag.Tag] = tag.Latest
		}
		if want := map[string]time.Time{"live": back, "old": back}; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
		var seen []Assignment
		var after Position
		for {
			page, err := s.ReadyAssignments(ctx, "t1", "live", after, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			seen = append(seen, page...)
			after = Position{CreatedAt: page[0].AssignedAt, ID: page[0].BuildID}
		}
		made := func(id string, at, build time.Time) Assignment {
			return Assignment{BuildID: id, AssignedAt: at, BuildCreatedAt: build, BuildFinishedAt: build}
		}
		if want := []Assignment{made("b1", back, start), made("b5", third.CreatedAt, third.CreatedAt),
			made("b3", start, start), made("b1", start, start)}; !reflect.DeepEqual(seen, want) {
			t.Errorf("got %+v", seen)
		}
		if none, err := s.ReadyAssignments(ctx, "t1", "next", Position{}, 9); err != nil || len(none) != 0 {
			t.Errorf("got %+v, %v", none, err)
		}
	})
}
