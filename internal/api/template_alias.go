package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/shoal"
)

// GetTemplateAlias tells whether a name is taken: by the team (200), by another one
// (403), or not at all (404). SDKs read this as true, true and false
// (templates.md §1.10).
func (s *Server) GetTemplateAlias(
	ctx context.Context, req gen.GetTemplateAliasRequestObject,
) (gen.GetTemplateAliasResponseObject, error) {
	team := callerOf(ctx).Team
	ref, err := reference.Parse(req.Alias)
	if err != nil {
		return nil, shoal.ErrTemplateReference.New("Invalid alias format: %s", err)
	}
	if ref.Namespace != "" && ref.Namespace != team.Slug {
		return nil, shoal.ErrTemplateReference.New("namespace '%s' must match your team '%s'",
			ref.Namespace, team.Slug)
	}
	t, err := s.resolve(ctx, team, ref)
	if shoal.ErrTemplateNotFound.Matches(err) {
		return nil, templateNotFound(reference.Reference{Namespace: team.Slug, Name: ref.Name})
	}
	if err != nil {
		return nil, err
	}
	if t.TeamID != team.ID {
		return nil, shoal.ErrTemplateForbidden.New("You don't have access to this template alias")
	}
	if ref.Tag != "" {
		if _, err := s.readyBuild(ctx, t, ref); err != nil {
			return nil, err
		}
	}
	return gen.GetTemplateAlias200JSONResponse{TemplateID: t.ID, Public: t.Public}, nil
}
