package api

import (
	"context"
	"errors"
	"slices"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// CreateSnapshot makes a template of a running sandbox, which goes on. A name that
// is used again leads to the newest snapshot from then on.
func (s *Server) CreateSnapshot(
	ctx context.Context, req gen.CreateSnapshotRequestObject,
) (gen.CreateSnapshotResponseObject, error) {
	node, sb, err := s.find(ctx, req.SandboxID)
	if err != nil {
		return nil, err
	}
	if sb.State == shoal.StatePaused {
		return nil, shoal.NotRunning(sb.SandboxID)
	}
	done, err := s.storage.begin(ctx, callerOf(ctx).Team, largestSave(sb))
	if err != nil {
		return nil, err
	}
	defer done()
	diskOnly := req.Body.Memory != nil && !*req.Body.Memory
	t, tag, err := s.snapshot(ctx, node, sb, deref(req.Body.Name), diskOnly)
	if errors.Is(err, store.ErrExists) {
		// Another request has just made the template of this name: now it is known.
		t, tag, err = s.snapshot(ctx, node, sb, deref(req.Body.Name), diskOnly)
	}
	if err != nil {
		return nil, err
	}
	if err := s.fleet.Sync(ctx); err != nil { // so that the build can be placed at once
		s.log.Warn("not every machine answered", "error", err)
	}
	return gen.CreateSnapshot201JSONResponse(wireSnapshot(t, tag)), nil
}

// snapshot takes a snapshot and registers it under a name, "" for none.
func (s *Server) snapshot(
	ctx context.Context, node shoal.Node, sb shoal.Sandbox, name string, diskOnly bool,
) (shoal.Template, string, error) {
	t, tag, err := s.snapshotTemplate(ctx, callerOf(ctx).Team, name)
	if err != nil {
		return t, "", err
	}
	if err := s.checkKept(ctx, callerOf(ctx).Team, t, tag); err != nil {
		return t, "", err
	}
	build, err := node.Snapshot(ctx, sb.SandboxID,
		shoal.SnapshotTarget{TemplateID: t.ID, BuildID: shoal.NewBuildID(), DiskOnly: diskOnly})
	if err != nil {
		return t, "", err
	}
	if t.CreatedAt.IsZero() {
		t.CreatedAt, t.UpdatedAt = build.CreatedAt, build.CreatedAt
	}
	// It is there now, so it is registered even if the request's time ends meanwhile.
	record, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	superseded, err := s.store.SaveSnapshot(record, t, build, tag)
	if err != nil {
		return t, "", errors.Join(err, node.RemoveBuild(context.WithoutCancel(ctx), build.ID))
	}
	if err := s.fleet.RemoveBuilds(ctx, superseded...); err != nil {
		s.log.Warn("a superseded snapshot is left on a machine", "template", t.ID, "error", err)
	}
	return t, tag, nil
}

// checkKept refuses one snapshot more than the team may keep. One that takes the place of
// another is none.
func (s *Server) checkKept(ctx context.Context, team shoal.Team, t shoal.Template, tag string) error {
	n, err := s.store.Kept(ctx, team.ID)
	if err != nil || n < team.Limits.Builds {
		return err
	}
	_, err = s.store.NewestBuild(ctx, t.ID, tag)
	if errors.Is(err, store.ErrNotFound) {
		return errKept(team)
	}
	return err
}

func errKept(team shoal.Team) error {
	return shoal.ErrKeptLimit.New("you have reached the maximum number of templates, builds and snapshots that are kept (%d).",
		team.Limits.Builds)
}

// snapshotTemplate finds the template that a snapshot goes to, or plans a new one.
func (s *Server) snapshotTemplate(
	ctx context.Context, team shoal.Team, name string,
) (shoal.Template, string, error) {
	t := shoal.Template{ID: shoal.NewTemplateID(), TeamID: team.ID, Source: shoal.SourceSnapshot}
	if name == "" {
		return t, shoal.DefaultTag, nil
	}
	ref, err := reference.Parse(name)
	if err != nil {
		return t, "", invalidName(err)
	}
	if ref.Namespace != "" && ref.Namespace != team.Slug {
		return t, "", shoal.ErrTemplateReference.New("namespace '%s' must match your team '%s'",
			ref.Namespace, team.Slug)
	}
	if ref.Tag == "" {
		ref.Tag = shoal.DefaultTag
	}
	alias := shoal.Alias{Namespace: team.Slug, Name: ref.Name}
	have, err := s.store.TemplateByAlias(ctx, alias)
	switch {
	case errors.Is(err, store.ErrNotFound):
		t.Aliases = []shoal.Alias{alias}
		return t, ref.Tag, nil
	case err != nil:
		return t, "", err
	case have.Source != shoal.SourceSnapshot:
		return t, "", shoal.ErrTemplateReference.New("Invalid name: '%s' is the name of a template", ref.Name)
	}
	return have, ref.Tag, nil
}

// ListSnapshots lists the team's snapshots in pages, newest first.
func (s *Server) ListSnapshots(
	ctx context.Context, req gen.ListSnapshotsRequestObject,
) (gen.ListSnapshotsResponseObject, error) {
	team, p := callerOf(ctx).Team, req.Params
	after, err := storePosition(p.NextToken)
	if err != nil {
		return nil, err
	}
	if name := deref(p.Name); name != "" {
		rows, err := s.snapshotsOfName(ctx, team, name, deref(p.SandboxID))
		return gen.ListSnapshots200JSONResponse{Body: rows}, err
	}
	sandboxID := deref(p.SandboxID)
	if sandboxID != "" {
		if sandboxID, err = shoal.ParseSandboxID(sandboxID); err != nil {
			return gen.ListSnapshots200JSONResponse{Body: []gen.Snapshot{}}, nil // no sandbox has such an ID
		}
	}
	size := pageSize(p.Limit)
	templates, err := s.store.SnapshotsAfter(ctx, team.ID, sandboxID, after, size+1)
	if err != nil {
		return nil, err
	}
	page := gen.ListSnapshots200JSONResponse{Body: []gen.Snapshot{}}
	if len(templates) > size {
		templates = templates[:size]
		end := cursor{at: templates[size-1].CreatedAt, id: templates[size-1].ID}
		page.Headers.XNextToken = optional(encodeCursor(end, false))
	}
	for _, t := range templates {
		tags, err := s.store.Tags(ctx, t.ID)
		if err != nil {
			return nil, err
		}
		if len(tags) > 0 {
			page.Body = append(page.Body, wireSnapshot(t, tags[0].Tag))
		}
	}
	return page, nil
}

// snapshotsOfName finds the one snapshot of a name, under its tag or, without one,
// its newest; none is an empty list. An ID serves as a name too.
func (s *Server) snapshotsOfName(
	ctx context.Context, team shoal.Team, name, sandboxID string,
) ([]gen.Snapshot, error) {
	none := []gen.Snapshot{}
	ref, err := reference.Parse(name)
	if err != nil {
		return nil, invalidName(err)
	}
	t, err := s.resolve(ctx, team, ref)
	switch {
	case shoal.ErrTemplateNotFound.Matches(err):
		return none, nil
	case err != nil:
		return nil, err
	case t.TeamID != team.ID || t.Source != shoal.SourceSnapshot:
		return none, nil
	}
	tags, err := s.store.Tags(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(tags, func(a store.TagAssignment) bool { return ref.Tag == "" || a.Tag == ref.Tag })
	if at < 0 {
		return none, nil
	}
	if sandboxID != "" {
		b, err := s.store.Build(ctx, t.ID, tags[at].BuildID)
		if err != nil || b.SandboxID != sandboxID {
			return none, err
		}
	}
	return []gen.Snapshot{wireSnapshot(t, tags[at].Tag)}, nil
}

// wireSnapshot names a snapshot so that it can be used as a template (api.md
// §3.11): by its name if it has one.
func wireSnapshot(t shoal.Template, tag string) gen.Snapshot {
	if len(t.Aliases) == 0 {
		return gen.Snapshot{SnapshotID: t.ID + ":" + tag, Names: []string{}}
	}
	name := reference.Reference{Namespace: t.Aliases[0].Namespace, Name: t.Aliases[0].Name}.String()
	return gen.Snapshot{SnapshotID: name + ":" + tag, Names: []string{name}}
}
