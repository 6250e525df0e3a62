package api

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/api/reference"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// invalidName turns reference.Parse's error into one for the name of something new, where
// the caller has given no ID.
func invalidName(err error) error {
	return shoal.ErrTemplateReference.New("Invalid name: %s",
		strings.TrimPrefix(err.Error(), reference.ErrName.Error()+": "))
}

// resolve finds the template of a reference, whoever owns it: a name with a
// namespace only there; a bare one in the team's own, then in the global one,
// then as an ID.
func (s *Server) resolve(ctx context.Context, team shoal.Team, ref reference.Reference) (shoal.Template, error) {
	spaces := []string{ref.Namespace}
	if ref.Namespace == "" {
		spaces = []string{team.Slug, ""}
	}
	for _, space := range spaces {
		t, err := s.store.TemplateByAlias(ctx, shoal.Alias{Namespace: space, Name: ref.Name})
		if !errors.Is(err, store.ErrNotFound) {
			return t, resolveError(err, ref)
		}
	}
	if ref.Namespace != "" {
		return shoal.Template{}, templateNotFound(ref)
	}
	t, err := s.store.Template(ctx, ref.Name)
	if errors.Is(err, store.ErrNotFound) {
		return t, templateNotFound(ref)
	}
	return t, resolveError(err, ref)
}

// resolveBuild finds what a sandbox of this reference starts from. A private
// template of another team is as unknown as one that never was.
func (s *Server) resolveBuild(
	ctx context.Context, team shoal.Team, text string,
) (shoal.Template, shoal.Build, error) {
	ref, err := reference.Parse(text)
	if err != nil {
		err = shoal.ErrTemplateReference.New("Invalid template reference: %s", err)
		return shoal.Template{}, shoal.Build{}, err
	}
	t, b, err := s.lookUpBuild(ctx, team, ref)
	if shoal.ErrTemplateNotFound.Matches(err) {
		err = s.orShipped(ctx, ref, err)
	}
	if errors.Is(err, shoal.ErrJustBuilt) { // after this request had looked
		return s.lookUpBuild(ctx, team, ref)
	}
	return t, b, err
}

// lookUpBuild is resolveBuild among the templates that there are.
func (s *Server) lookUpBuild(
	ctx context.Context, team shoal.Team, ref reference.Reference,
) (t shoal.Template, b shoal.Build, err error) {
	t, err = s.resolve(ctx, team, ref)
	if err == nil && !t.Public && t.TeamID != team.ID {
		err = templateNotFound(ref)
	}
	if err == nil {
		b, err = s.readyBuild(ctx, t, ref)
	}
	return t, b, err
}

// orShipped replaces notFound for a template that comes with Shoal and is not built yet:
// its build is under way, or could be.
func (s *Server) orShipped(ctx context.Context, ref reference.Reference, notFound error) error {
	if s.shipped == nil || ref.Namespace != "" || ref.Tag != "" && ref.Tag != shoal.DefaultTag {
		return notFound
	}
	if err := s.shipped(ctx, ref.Name); err != nil {
		return err
	}
	return notFound
}

// readyBuild finds the newest ready build of the reference's tag, which may also
// be a build's ID.
func (s *Server) readyBuild(ctx context.Context, t shoal.Template, ref reference.Reference) (shoal.Build, error) {
	tag := ref.Tag
	if tag == "" {
		tag = shoal.DefaultTag
	}
	b, err := s.store.ReadyBuild(ctx, t.ID, tag)
	if errors.Is(err, store.ErrNotFound) && uuid.Validate(tag) == nil {
		b, err = s.store.Build(ctx, t.ID, tag)
		if err == nil && b.Status != shoal.BuildReady {
			err = store.ErrNotFound
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return b, s.notReady(ctx, t, ref, tag)
	}
	return b, resolveError(err, ref)
}

// notReady has one message, E2B's, for a tag that does not exist and one without a
// ready build; the cause tells them apart.
func (s *Server) notReady(ctx context.Context, t shoal.Template, ref reference.Reference, tag string) error {
	newest, err := s.store.NewestBuild(ctx, t.ID, tag)
	if errors.Is(err, store.ErrNotFound) && uuid.Validate(tag) == nil {
		newest, err = s.store.Build(ctx, t.ID, tag)
	}
	answer := shoal.ErrTemplateNotFound.New("tag '%s' does not exist for template '%s'", tag, ref)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return resolveError(err, ref)
	case newest.Status == shoal.BuildError:
		answer = answer.Because("the template has no ready build under this tag: the last one, %s, failed",
			newest.ID)
	default:
		answer = answer.Because("the template has no ready build under this tag: the last one, %s, is not ready yet (%s)",
			newest.ID, newest.Status)
	}
	return answer
}

func templateNotFound(ref reference.Reference) error {
	return shoal.ErrTemplateNotFound.New("template '%s' not found", ref)
}

func resolveError(err error, ref reference.Reference) error {
	if err == nil {
		return nil
	}
	return shoal.ErrInternal.Wrap(err, "error resolving template '%s'", ref)
}
