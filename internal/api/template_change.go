package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/build"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// owned finds a template of the team by its name or ID. Another team's is forbidden by
// its ID and unknown by its name; a tag, as snapshot IDs have it, is ignored.
func (s *Server) owned(ctx context.Context, text string) (shoal.Template, error) {
	ref, err := reference.Parse(text)
	if err != nil {
		return shoal.Template{}, shoal.ErrTemplateReference.New("Invalid template reference: %s", err)
	}
	team := callerOf(ctx).Team
	t, err := s.resolve(ctx, team, ref)
	switch {
	case err != nil || t.TeamID == team.ID:
		return t, err
	case ref.String() == t.ID:
		return t, shoal.ErrTemplateForbidden.New("You don't have access to template '%s'", ref)
	default:
		return t, templateNotFound(ref)
	}
}

// DeleteTemplate hides a template that no sandbox uses, frees its names and ends
// its builds.
func (s *Server) DeleteTemplate(
	ctx context.Context, req gen.DeleteTemplateRequestObject,
) (gen.DeleteTemplateResponseObject, error) {
	t, err := s.owned(ctx, req.TemplateID)
	if err != nil {
		return nil, err
	}
	if t.ID == shoal.BaseTemplateID {
		return nil, refuseForBase("delete", t)
	}
	sandboxes, err := s.fleet.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, sb := range sandboxes {
		if sb.TemplateID == t.ID && sb.State != shoal.StateKilling {
			return nil, shoal.ErrTemplateInUse.New("cannot delete template '%s' because there are %s sandboxes using it", t.ID, sb.State.Public())
		}
	}
	stopped, err := s.store.DeleteTemplate(ctx, t.ID, build.MessageDeleted, time.Now())
	if errors.Is(err, store.ErrNotFound) {
		return nil, shoal.ErrTemplateNotFound.New("template '%s' not found", req.TemplateID)
	}
	for _, id := range stopped {
		err = errors.Join(err, s.builds.Queue.Cancel(ctx, id, build.MessageDeleted))
	}
	if err != nil {
		return nil, err
	}
	if err := s.removeSnapshots(ctx, t); err != nil {
		s.log.Warn("a deleted snapshot is left on a machine until it is collected",
			"template", t.ID, "error", err)
	}
	return gen.DeleteTemplate204Response{}, nil
}

// refuseForBase refuses what would take the base template away from all teams.
func refuseForBase(deed string, t shoal.Template) error {
	return shoal.ErrTemplateInstallation.New("cannot %s template '%s' because it belongs to the installation",
		deed, t.ID)
}

// removeSnapshots removes what the builds of a deleted template, made of sandboxes,
// hold on the machines.
func (s *Server) removeSnapshots(ctx context.Context, t shoal.Template) error {
	if t.Source != shoal.SourceSnapshot {
		return nil
	}
	ids, err := s.store.BuildsOf(ctx, t.ID)
	if err != nil {
		return err
	}
	return s.fleet.RemoveBuilds(ctx, ids...)
}

// UpdateTemplateV2 shows a template to every team, or hides it.
func (s *Server) UpdateTemplateV2(
	ctx context.Context, req gen.UpdateTemplateV2RequestObject,
) (gen.UpdateTemplateV2ResponseObject, error) {
	t, err := s.setPublic(ctx, req.TemplateID, req.Body)
	if err != nil {
		return nil, err
	}
	_, names := wireNames(t.Aliases)
	return gen.UpdateTemplateV2200JSONResponse{Names: names}, nil
}

// UpdateTemplate is the same for old CLIs, which expect a published template to be
// known to everyone by its bare name.
func (s *Server) UpdateTemplate(
	ctx context.Context, req gen.UpdateTemplateRequestObject,
) (gen.UpdateTemplateResponseObject, error) {
	t, err := s.setPublic(ctx, req.TemplateID, req.Body)
	if err != nil {
		return nil, err
	}
	if req.Body == nil || !deref(req.Body.Public) {
		return gen.UpdateTemplate200JSONResponse(nil), nil
	}
	for _, a := range t.Aliases {
		if err := s.claim(ctx, t, a); err != nil {
			return nil, err
		}
	}
	return gen.UpdateTemplate200JSONResponse(nil), nil
}

// setPublic changes what the body names; an empty body changes nothing.
func (s *Server) setPublic(ctx context.Context, id string, body *gen.TemplateUpdate) (shoal.Template, error) {
	t, err := s.owned(ctx, id)
	if err == nil && t.Source != shoal.SourceTemplate {
		err = shoal.ErrTemplateNotFound.New("Template '%s' not found or you don't have access to it", id)
	}
	if err == nil && body != nil && deref(body.Public) {
		err = s.allow(ctx, shoal.SwitchPublishing)
	}
	if err == nil && body != nil && deref(body.Public) && !callerOf(ctx).Team.MayPublish {
		err = shoal.ErrTemplatePublish.New("Your team may not show template '%s' to other teams", t.ID)
	}
	if err != nil || body == nil || body.Public == nil || *body.Public == t.Public {
		return t, err
	}
	if t.ID == shoal.BaseTemplateID && !*body.Public {
		return t, refuseForBase("hide", t)
	}
	t.Public = *body.Public
	return t, s.store.SetPublic(ctx, t.ID, t.Public, time.Now())
}

// claim makes a template known by its bare name, without the namespace. A bare name is what
// every team's sandboxes may be made from, so only teams that may publish come here, and
// names of templates that everybody expects are for the operator's team.
func (s *Server) claim(ctx context.Context, t shoal.Template, a shoal.Alias) error {
	global := shoal.Alias{Name: a.Name}
	holder, err := s.store.TemplateByAlias(ctx, global)
	switch {
	case err == nil && holder.ID == t.ID:
		return nil
	case err == nil:
		return nameTaken(a)
	case !errors.Is(err, store.ErrNotFound):
		return err
	case slices.Contains(s.reserved, a.Name) && t.TeamID != s.operator:
		return shoal.ErrTemplateBareName.New("Public template name '%s' is for a template of the operator's team. Your template is available at '%s'.",
			a.Name, reference.Reference{Namespace: a.Namespace, Name: a.Name})
	}
	err = s.store.AddAlias(ctx, t.ID, global)
	if errors.Is(err, store.ErrExists) { // another team was faster
		return nameTaken(a)
	}
	return err
}

func nameTaken(a shoal.Alias) error {
	return shoal.ErrTemplateNameTaken.New("Public template name '%s' is already taken. Your template is available at '%s'. Please update your CLI to remove this error message.",
		a.Name, reference.Reference{Namespace: a.Namespace, Name: a.Name})
}
