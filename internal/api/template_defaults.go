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
	for _, name := range s.defaults {
		t, err := s.store.TemplateByAlias(ctx, shoal.Alias{Name: name})
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, err
		case s.isDefault(t) && (t.Public || t.TeamID == team):
			templates = append(templates, t)
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

// isDefault reports whether a template comes with the installation.
func (s *Server) isDefault(t shoal.Template) bool {
	return t.TeamID == s.operator && slices.ContainsFunc(t.Aliases, func(a shoal.Alias) bool {
		return a.Namespace == "" && slices.Contains(s.defaults, a.Name)
	})
}
