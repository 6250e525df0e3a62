package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListTemplateTags lists the newest build of each tag. A tag in the name, as
// snapshot IDs have it, is ignored.
func (s *Server) ListTemplateTags(
	ctx context.Context, req gen.ListTemplateTagsRequestObject,
) (gen.ListTemplateTagsResponseObject, error) {
	team := callerOf(ctx).Team
	ref, err := reference.Parse(req.TemplateID)
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

// AssignTemplateTags makes tags point to the ready build of another tag, which is
// the default one unless the target names it.
func (s *Server) AssignTemplateTags(
	ctx context.Context, req gen.AssignTemplateTagsRequestObject,
) (gen.AssignTemplateTagsResponseObject, error) {
	tags, err := parseTags(req.Body.Tags)
	if err != nil {
		return nil, err
	}
	ref, err := reference.Parse(req.Body.Target)
	if err != nil {
		return nil, shoal.ErrTemplateReference.New("Invalid target: %s", err)
	}
	if ref.Tag == "" {
		ref.Tag = shoal.DefaultTag
	}
	missing := shoal.ErrTemplateNotFound.New("Template '%s' with tag '%s' not found", ref, ref.Tag)
	t, err := s.resolve(ctx, callerOf(ctx).Team, ref)
	switch {
	case shoal.ErrTemplateNotFound.Matches(err):
		return nil, missing
	case err != nil:
		return nil, err
	case t.TeamID != callerOf(ctx).Team.ID:
		return nil, noAccess(ref.String())
	}
	aimed(ctx, "template", t.ID)
	b, err := s.readyBuild(ctx, t, ref)
	if shoal.ErrTemplateNotFound.Matches(err) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	err = s.store.AssignTags(ctx, b, time.Now(), tags...)
	if errors.Is(err, store.ErrTooManyTags) {
		err = errTooManyTags()
	}
	if err != nil {
		return nil, err
	}
	return gen.AssignTemplateTags201JSONResponse{Tags: tags, BuildID: b.ID}, nil
}

// RemoveTemplateTags removes tags; one that the template does not have is fine.
func (s *Server) RemoveTemplateTags(
	ctx context.Context, req gen.RemoveTemplateTagsRequestObject,
) (gen.RemoveTemplateTagsResponseObject, error) {
	tags, err := parseTags(req.Body.Tags)
	if err != nil {
		return nil, err
	}
	ref, err := reference.Parse(req.Body.Name)
	switch {
	case err != nil && !errors.Is(err, reference.ErrTag):
		return nil, invalidName(err)
	case err != nil || ref.Tag != "":
		return nil, shoal.ErrBadRequest.New("Template name should not contain a tag, use the 'tags' field instead")
	case slices.Contains(tags, shoal.DefaultTag):
		return nil, shoal.ErrBadRequest.New("Cannot delete the 'default' tag")
	}
	t, err := s.resolve(ctx, callerOf(ctx).Team, ref)
	if err != nil {
		return nil, err
	}
	if t.TeamID != callerOf(ctx).Team.ID {
		return nil, noAccess(ref.String())
	}
	aimed(ctx, "template", t.ID)
	if err := s.store.RemoveTags(ctx, t.ID, tags...); err != nil {
		return nil, err
	}
	return gen.RemoveTemplateTags204Response{}, nil
}

func errTooManyTags() error {
	return shoal.ErrTagLimit.New("the template has reached the maximum number of tag assignments (%d).",
		store.MaxAssignments)
}

// maxTags is the most that one request may name.
const maxTags = 100

// parseTags normalizes tags and drops repeated ones; there must be at least one.
func parseTags(list []string) ([]string, error) {
	var tags []string
	for _, text := range list {
		tag, err := parseTag(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
		if len(tags) > maxTags {
			return nil, shoal.ErrBadRequest.New("At most %d tags are allowed", maxTags)
		}
	}
	if len(tags) == 0 {
		return nil, shoal.ErrBadRequest.New("At least one tag is required")
	}
	return tags, nil
}

// parseTag normalizes a tag that is to be assigned. A build's ID cannot be a tag: in a
// reference it names the build (templates.md §1.10).
func parseTag(text string) (string, error) {
	tag := strings.ToLower(strings.TrimSpace(text))
	switch {
	case tag == "":
		return "", shoal.ErrTemplateReference.New("Invalid tag: it is empty")
	case len(tag) > reference.MaxTag:
		return "", shoal.ErrTemplateReference.New("Invalid tag: %s… (a tag has at most %d characters)",
			tag[:reference.MaxTag], reference.MaxTag)
	case !reference.IsTag(tag):
		return "", shoal.ErrTemplateReference.New("Invalid tag: %s (%s)", text, reference.TagRule)
	case uuid.Validate(tag) == nil:
		return "", shoal.ErrTemplateReference.New("Invalid tag: %s: a tag cannot be a UUID", text)
	}
	return tag, nil
}
