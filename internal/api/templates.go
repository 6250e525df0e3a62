package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListTemplates lists the team's templates, oldest first.
func (s *Server) ListTemplates(
	ctx context.Context, req gen.ListTemplatesRequestObject,
) (gen.ListTemplatesResponseObject, error) {
	team := callerOf(ctx).Team
	if err := checkTeamID(req.Params.TeamID, team); err != nil {
		return nil, err
	}
	templates, err := s.store.Templates(ctx, team.ID)
	if err != nil {
		return nil, err
	}
	rows, err := s.wireTemplates(ctx, templates)
	return gen.ListTemplates200JSONResponse(rows), err
}

// ListTemplatesV2 lists the team's templates in pages, newest first.
func (s *Server) ListTemplatesV2(
	ctx context.Context, req gen.ListTemplatesV2RequestObject,
) (gen.ListTemplatesV2ResponseObject, error) {
	team := callerOf(ctx).Team
	if err := checkTeamID(req.Params.TeamID, team); err != nil {
		return nil, err
	}
	after, err := storePosition(req.Params.NextToken)
	if err != nil {
		return nil, err
	}
	size := pageSize(req.Params.Limit)
	templates, err := s.store.TemplatesAfter(ctx, team.ID, after, size+1)
	if err != nil {
		return nil, err
	}
	var next string
	if len(templates) > size {
		templates = templates[:size]
		next = encodeCursor(cursor{at: templates[size-1].CreatedAt, id: templates[size-1].ID}, false)
	}
	rows, err := s.wireTemplates(ctx, templates)
	return gen.ListTemplatesV2200JSONResponse{Body: rows,
		Headers: gen.ListTemplatesV2200ResponseHeaders{XNextToken: optional(next)}}, err
}

// GetTemplate describes one of the team's templates by its ID, with one page of
// its builds.
func (s *Server) GetTemplate(
	ctx context.Context, req gen.GetTemplateRequestObject,
) (gen.GetTemplateResponseObject, error) {
	after, err := storePosition(req.Params.NextToken)
	if err != nil {
		return nil, err
	}
	t, err := s.store.Template(ctx, req.TemplateID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, shoal.ErrTemplateNotFound.New("Template %s not found", req.TemplateID)
	case err != nil:
		return nil, err
	case t.TeamID != callerOf(ctx).Team.ID:
		return nil, noAccess(req.TemplateID)
	}
	size := pageSize(req.Params.Limit)
	builds, err := s.store.BuildsAfter(ctx, t.ID, after, size+1)
	if err != nil {
		return nil, err
	}
	var next string
	if len(builds) > size {
		builds = builds[:size]
		next = encodeCursor(cursor{at: builds[size-1].CreatedAt, id: builds[size-1].ID}, false)
	}
	row, err := s.wireTemplate(ctx, t)
	if err != nil {
		return nil, err
	}
	return gen.GetTemplate200JSONResponse{Body: withBuilds(row, builds),
		Headers: gen.GetTemplate200ResponseHeaders{XNextToken: optional(next)}}, nil
}

func checkTeamID(asked *string, team shoal.Team) error {
	if asked != nil && *asked != "" && *asked != team.ID {
		return shoal.ErrBadRequest.New("Team ID param mismatch with the API key")
	}
	return nil
}

func noAccess(id string) error {
	return shoal.ErrTemplateForbidden.New("You don't have access to this sandbox template (%s)", id)
}

func storePosition(token *string) (store.Position, error) {
	c, err := decodeCursor(token, false)
	if err != nil || c == nil {
		return store.Position{}, err
	}
	return store.Position{CreatedAt: c.at, ID: c.id}, nil
}

func (s *Server) wireTemplates(ctx context.Context, templates []shoal.Template) ([]gen.Template, error) {
	rows := make([]gen.Template, len(templates))
	for i, t := range templates {
		var err error
		if rows[i], err = s.wireTemplate(ctx, t); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// wireTemplate takes the resources from the latest ready build of the default
// tag, and the status from the latest build, ready or not (api.md §3.12).
func (s *Server) wireTemplate(ctx context.Context, t shoal.Template) (gen.Template, error) {
	ready, err := s.store.ReadyBuild(ctx, t.ID, shoal.DefaultTag)
	if errors.Is(err, store.ErrNotFound) {
		ready = shoal.Build{ID: shoal.NilBuildID}
	} else if err != nil {
		return gen.Template{}, err
	}
	newest, err := s.store.NewestBuild(ctx, t.ID, shoal.DefaultTag)
	if errors.Is(err, store.ErrNotFound) {
		newest.Status = shoal.BuildWaiting
	} else if err != nil {
		return gen.Template{}, err
	}
	aliases, names := wireNames(t.Aliases)
	about, isDefault := s.aboutDefault(t)
	return gen.Template{TemplateID: t.ID, BuildID: ready.ID, CpuCount: int32(ready.Resources.CPUCount),
		MemoryMB: ready.Resources.MemoryMB, DiskSizeMB: ready.Resources.DiskMB, Public: t.Public,
		Aliases: aliases, Names: names, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
		LastSpawnedAt: optionalTime(t.LastSpawnedAt), SpawnCount: t.SpawnCount, BuildCount: t.BuildCount,
		EnvdVersion: ready.EnvdVersion, BuildStatus: gen.BuildStatus(newest.Status),
		IsDefault: onlyTrue(isDefault), Description: optional(about)}, nil
}

// withBuilds is a template's row with a page of its builds.
func withBuilds(t gen.Template, builds []shoal.Build) gen.TemplateWithBuilds {
	wire := gen.TemplateWithBuilds{TemplateID: t.TemplateID, BuildID: t.BuildID, CpuCount: t.CpuCount,
		MemoryMB: t.MemoryMB, DiskSizeMB: t.DiskSizeMB, Public: t.Public, Aliases: t.Aliases, Names: t.Names,
		CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt, CreatedBy: t.CreatedBy, LastSpawnedAt: t.LastSpawnedAt,
		SpawnCount: t.SpawnCount, BuildCount: t.BuildCount, EnvdVersion: t.EnvdVersion,
		BuildStatus: t.BuildStatus, IsDefault: t.IsDefault, Description: t.Description,
		Builds: make([]gen.TemplateBuild, len(builds))}
	for i, b := range builds {
		wire.Builds[i] = gen.TemplateBuild{
			BuildID:     b.ID,
			Status:      gen.BuildStatus(b.Status),
			CreatedAt:   b.CreatedAt,
			UpdatedAt:   b.UpdatedAt,
			FinishedAt:  optionalTime(b.FinishedAt),
			CpuCount:    int32(b.Resources.CPUCount),
			MemoryMB:    b.Resources.MemoryMB,
			DiskSizeMB:  &b.Resources.DiskMB,
			EnvdVersion: optional(b.EnvdVersion),
		}
	}
	return wire
}

// wireNames returns the bare names, each once, and the names with their
// namespaces. A promoted template has one name in two namespaces.
func wireNames(list []shoal.Alias) (aliases, names []string) {
	aliases, names = []string{}, []string{}
	for _, a := range list {
		if !slices.Contains(aliases, a.Name) {
			aliases = append(aliases, a.Name)
		}
		names = append(names, reference.Reference{Namespace: a.Namespace, Name: a.Name}.String())
	}
	return aliases, names
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
