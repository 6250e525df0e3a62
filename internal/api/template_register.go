package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/build"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// RegisterTemplateBuild makes a waiting build of the team's template of a name,
// and the template if there is none (templates.md §1.6).
func (s *Server) RegisterTemplateBuild(
	ctx context.Context, req gen.RegisterTemplateBuildRequestObject,
) (gen.RegisterTemplateBuildResponseObject, error) {
	body := *req.Body
	name := deref(body.Name)
	if name == "" {
		name = deref(body.Alias)
	}
	reg, err := planRegistration(callerOf(ctx).Team, name, deref(body.Tags),
		wanted{cpu: body.CpuCount, memory: body.MemoryMB, disk: body.MinFreeDiskMb, teamID: body.TeamID})
	if err != nil {
		return nil, err
	}
	t, err := s.register(ctx, reg)
	if err != nil {
		return nil, err
	}
	aimed(ctx, "template", t.ID)
	aliases, names := wireNames(t.Aliases)
	return gen.RegisterTemplateBuild202JSONResponse{
		TemplateID: t.ID,
		BuildID:    reg.Build.ID,
		Public:     t.Public,
		Names:      names,
		Tags:       reg.Tags,
		Aliases:    aliases,
	}, nil
}

// RegisterTemplateBuildV2 is the same for SDKs that know no names and tags.
func (s *Server) RegisterTemplateBuildV2(
	ctx context.Context, req gen.RegisterTemplateBuildV2RequestObject,
) (gen.RegisterTemplateBuildV2ResponseObject, error) {
	reg, err := planRegistration(callerOf(ctx).Team, req.Body.Alias, nil,
		wanted{cpu: req.Body.CpuCount, memory: req.Body.MemoryMB, teamID: req.Body.TeamID})
	if err != nil {
		return nil, err
	}
	t, err := s.register(ctx, reg)
	if err != nil {
		return nil, err
	}
	aimed(ctx, "template", t.ID)
	aliases, _ := wireNames(t.Aliases)
	return gen.RegisterTemplateBuildV2202JSONResponse{
		TemplateID:    t.ID,
		BuildID:       reg.Build.ID,
		Public:        t.Public,
		CpuCount:      int32(reg.Build.Resources.CPUCount),
		MemoryMB:      reg.Build.Resources.MemoryMB,
		DiskSizeMB:    reg.Build.Resources.DiskMB,
		Aliases:       aliases,
		CreatedAt:     t.CreatedAt,
		UpdatedAt:     t.UpdatedAt,
		LastSpawnedAt: optionalTime(t.LastSpawnedAt),
		SpawnCount:    t.SpawnCount,
		BuildCount:    t.BuildCount,
	}, nil
}

func (s *Server) register(ctx context.Context, reg store.Registration) (shoal.Template, error) {
	if _, err := s.storage.check(ctx, reg.Team); err != nil {
		return shoal.Template{}, err
	}
	t, err := s.store.RegisterBuild(ctx, reg)
	var full *store.TooManyBuilds
	switch {
	case errors.Is(err, store.ErrNameIsID):
		err = shoal.ErrTemplateNameTaken.New("Alias '%s' is already used", reg.Alias.Name)
	case errors.Is(err, store.ErrNameTaken):
		err = shoal.ErrTemplateForbidden.New("Alias '%s' already used", reg.Alias.Name)
	case errors.Is(err, store.ErrTooManyTemplates):
		err = shoal.ErrTemplateLimit.New("you have reached the maximum number of templates (%d).", reg.Team.Limits.Templates)
	case errors.Is(err, store.ErrKept):
		err = errKept(reg.Team)
	case errors.Is(err, store.ErrTooManyTags):
		err = errTooManyTags()
	case errors.As(err, &full):
		err = shoal.ErrBuildLimit.New(
			"you have reached the maximum number of concurrent template builds (%d). Please wait for existing builds to complete.",
			reg.Team.Limits.ConcurrentBuilds).Because("%s", neverStarted(full.Waiting))
	}
	return t, err
}

// neverStarted explains a full team to one who sees no build run; "" if all do.
func neverStarted(waiting int) string {
	if waiting == 0 {
		return ""
	}
	return fmt.Sprintf("%d of the team's builds are registered and wait for a start that has not come; each ends when its name is built again, or %.0f minutes after its registration",
		waiting, build.WaitingLimit.Minutes())
}

// wanted is what a client may leave out.
type wanted struct {
	cpu    *int32
	memory *int64
	disk   *int64
	teamID *string
}

// planRegistration checks a request in the order of templates.md §1.6.
func planRegistration(team shoal.Team, name string, tags []string, w wanted) (store.Registration, error) {
	if strings.TrimSpace(name) == "" {
		return store.Registration{}, shoal.ErrBadRequest.New("Name is required")
	}
	ref, err := reference.Parse(name)
	switch {
	case errors.Is(err, reference.ErrTag):
		return store.Registration{}, shoal.ErrTemplateReference.New("Invalid tag: %s",
			strings.TrimPrefix(err.Error(), reference.ErrTag.Error()+": "))
	case err != nil:
		return store.Registration{}, invalidName(err)
	}
	if ref.Tag != "" {
		tags = append([]string{ref.Tag}, tags...)
	}
	if len(tags) == 0 {
		tags = []string{shoal.DefaultTag}
	}
	if tags, err = parseTags(tags); err != nil {
		return store.Registration{}, err
	}
	if ref.Namespace != "" && ref.Namespace != team.Slug {
		return store.Registration{}, shoal.ErrTemplateReference.New("namespace '%s' must match your team '%s'", ref.Namespace, team.Slug)
	}
	if err := checkTeamID(w.teamID, team); err != nil {
		return store.Registration{}, err
	}
	resources, err := planResources(team, w)
	if err != nil {
		return store.Registration{}, err
	}
	now := time.Now().UTC()
	return store.Registration{Team: team, Alias: shoal.Alias{Namespace: team.Slug, Name: ref.Name},
		Tags: slices.Clip(tags), Superseded: build.MessageSuperseded,
		Build: shoal.Build{ID: shoal.NewBuildID(), Status: shoal.BuildWaiting, Resources: resources,
			CreatedAt: now, UpdatedAt: now}}, nil
}

// The limits that are the same for all teams (templates.md §1.12, clients.md D30).
const (
	defaultCPU, maxCPU       = 2, 32
	defaultMemory, minMemory = 1024, 128 // MiB
	minDisk                  = 512       // MiB; less would leave a sandbox no room to work
)

// planResources applies the defaults and the team's limits.
func planResources(team shoal.Team, w wanted) (shoal.Resources, error) {
	r := shoal.Resources{CPUCount: defaultCPU, MemoryMB: defaultMemory, DiskMB: team.Limits.DiskMB}
	if w.cpu != nil {
		r.CPUCount = int(*w.cpu)
	}
	if w.memory != nil {
		r.MemoryMB = *w.memory
	}
	if w.disk != nil {
		r.DiskMB = min(max(*w.disk, minDisk), team.Limits.DiskMB)
	}
	const advice = "(the operator can raise the limits of a team)"
	bad := shoal.ErrBadRequest.New
	switch {
	case r.CPUCount < 1:
		return r, bad("CPU count must be at least 1")
	case r.CPUCount > maxCPU:
		return r, bad("CPU count must be at most %d", maxCPU)
	case r.CPUCount != 1 && r.CPUCount%2 != 0:
		return r, bad("CPU count must be 1 or an even number")
	case r.CPUCount > team.Limits.MaxCPU:
		return r, bad("CPU count can't be higher than %d %s", team.Limits.MaxCPU, advice)
	case r.MemoryMB < minMemory:
		return r, bad("Memory must be at least %d MiB", minMemory)
	case r.MemoryMB%2 != 0:
		return r, bad("Memory must be divisible by 2")
	case r.MemoryMB > team.Limits.MaxMemoryMB:
		return r, bad("Memory can't be higher than %d MiB %s", team.Limits.MaxMemoryMB, advice)
	}
	return r, nil
}
