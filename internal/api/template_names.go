package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// GetTemplateAlias tells whether a name is taken: 200 by the team, 403 by
// another one, 404 by nobody. SDKs make true, true and false of it
// (templates.md §1.10).
func (s *Server) GetTemplateAlias(ctx context.Context, req gen.GetTemplateAliasRequestObject) (gen.GetTemplateAliasResponseObject, error) {
	team := callerOf(ctx).Team
	ref, err := parseReference(req.Alias)
	if err != nil {
		return nil, shoal.ErrTemplateReference.New("Invalid alias format: %s", err)
	}
	if ref.namespace != "" && ref.namespace != team.Slug {
		return nil, shoal.ErrTemplateReference.New("namespace '%s' must match your team '%s'", ref.namespace, team.Slug)
	}
	t, err := s.resolve(ctx, team, ref)
	if shoal.ErrTemplateNotFound.Matches(err) {
		return nil, templateNotFound(reference{namespace: team.Slug, name: ref.name})
	}
	if err != nil {
		return nil, err
	}
	if t.TeamID != team.ID {
		return nil, shoal.ErrTemplateForbidden.New("You don't have access to this template alias")
	}
	if ref.tag != "" {
		if _, err := s.readyBuild(ctx, t, ref); err != nil {
			return nil, err
		}
	}
	return gen.GetTemplateAlias200JSONResponse{TemplateID: t.ID, Public: t.Public}, nil
}

// ListTemplateTags lists the newest build of each tag. A tag in the name, as
// snapshot IDs have it, is ignored.
func (s *Server) ListTemplateTags(ctx context.Context, req gen.ListTemplateTagsRequestObject) (gen.ListTemplateTagsResponseObject, error) {
	team := callerOf(ctx).Team
	ref, err := parseReference(req.TemplateID)
	if err != nil {
		return nil, shoal.ErrTemplateReference.New("Invalid template reference: %s", err)
	}
	t, err := s.resolve(ctx, team, ref)
	if err != nil {
		return nil, err
	}
	if t.TeamID != team.ID {
		return nil, noAccess(ref.String())
	}
	tags, err := s.store.Tags(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	rows := make(gen.ListTemplateTags200JSONResponse, len(tags))
	for i, tag := range tags {
		rows[i] = gen.TemplateTag{Tag: tag.Tag, BuildID: tag.BuildID, CreatedAt: tag.CreatedAt}
	}
	return rows, nil
}
