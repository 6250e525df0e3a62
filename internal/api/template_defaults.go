package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListDefaultTemplates lists the built templates that come with the installation, by ID
// (clients-2.63.md §4.2).
func (s *Server) ListDefaultTemplates(
	ctx context.Context, _ gen.ListDefaultTemplatesRequestObject,
) (gen.ListDefaultTemplatesResponseObject, error) {
	team := callerOf(ctx).Team.ID
	var templates []shoal.Template
	for name := range s.defaults {
		t, err := s.store.TemplateByAlias(ctx, shoal.Alias{Name: name})
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, err
		case t.Public || t.TeamID == team:
			if _, is := s.aboutDefault(t); is {
				templates = append(templates, t)
			}
		}
	}
	slices.SortFunc(templates, func(a, b shoal.Template) int { return strings.Compare(a.ID, b.ID) })
	templates = slices.CompactFunc(templates, func(a, b shoal.Template) bool { return a.ID == b.ID })
	rows, err := s.wireTemplates(ctx, templates)
	for i, t := range templates {
		if err == nil && t.TeamID != team {
			rows[i].SpawnCount, rows[i].BuildCount, rows[i].LastSpawnedAt = 0, 0, nil
		}
	}
	return gen.ListDefaultTemplates200JSONResponse(rows), err
}

// aboutDefault reports whether a template comes with the installation, and what it is for.
func (s *Server) aboutDefault(t shoal.Template) (about string, is bool) {
	if t.TeamID != s.operator {
		return "", false
	}
	for _, a := range t.Aliases {
		if about, is = s.defaults[a.Name]; is && a.Namespace == "" {
			return about, true
		}
	}
	return "", false
}
