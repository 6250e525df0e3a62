package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// A build goes from waiting to building, and then to ready or error. A waiting build can fail
// too, and retiring takes a ready one to error. Each update is conditional on the state that
// it leaves. When two updates race, in this process or
// in others, the loser gets ErrNotFound and changes nothing.

// StartBuild marks a waiting build as building, assigns it to the named builder, and
// stores its origin, commands and runtime. ErrNotFound if the build is not waiting.
func (s *Store) StartBuild(ctx context.Context, b shoal.Build, builder string) error {
	text, err := encodeBuild(b)
	if err != nil {
		return err
	}
	n, err := s.q.StartBuild(
		ctx,
		sqlcgen.StartBuildParams{ID: b.ID, Builder: builder, UpdatedAt: micros(b.UpdatedAt),
			Origin: b.Origin, StartCmd: b.Start.Command, ReadyCmd: b.Start.Ready, Runtime: text.runtime},
	)
	return changed(n, err, ErrNotFound, "start build "+b.ID)
}

// CompleteBuild marks a building build as ready and stores its results. ErrNotFound
// if it was canceled in the meantime.
func (s *Store) CompleteBuild(ctx context.Context, b shoal.Build) error {
	text, err := encodeBuild(b)
	if err != nil {
		return err
	}
	n, err := s.q.CompleteBuild(ctx, sqlcgen.CompleteBuildParams{ID: b.ID, DiskMb: b.Resources.DiskMB,
		EnvdVersion: b.EnvdVersion, ImageDigest: b.ImageDigest,
		DefaultUser: b.DefaultUser, DefaultWorkdir: b.DefaultWorkdir,
		UpdatedAt: micros(b.FinishedAt), FinishedAt: micros(b.FinishedAt),
		Layers: text.layers, Context: text.context,
		StartCmd: b.Start.Command, ReadyCmd: b.Start.Ready, StartContext: text.startContext})
	return changed(n, err, ErrNotFound, "complete build "+b.ID)
}

// Untagged returns the ready builds that have been without a tag since the given time,
// because newer builds took over their tags or the tags were removed. Builds made from
// sandboxes and builds of the base template are left out.
func (s *Store) Untagged(ctx context.Context, since time.Time) ([]string, error) {
	ids, err := s.q.ListUntagged(ctx, micros(since))
	return ids, lookup(err, "list builds without tags")
}

// RetireBuild marks a ready build as failed because its images and snapshot are about
// to be removed. ErrNotFound if it is not ready.
func (s *Store) RetireBuild(ctx context.Context, buildID, reason string, at time.Time) error {
	n, err := s.q.RetireBuild(
		ctx,
		sqlcgen.RetireBuildParams{ID: buildID, ReasonMessage: reason, UpdatedAt: micros(at)},
	)
	return changed(n, err, ErrNotFound, "retire build "+buildID)
}

// FailBuild marks a waiting or building build as failed. ErrNotFound if it has
// already ended.
func (s *Store) FailBuild(ctx context.Context, buildID string, reason shoal.BuildReason, at time.Time) error {
	return failBuild(ctx, s.q, buildID, reason, at)
}

func failBuild(ctx context.Context, q *sqlcgen.Queries, buildID string, reason shoal.BuildReason,
	at time.Time) error {
	n, err := q.FailBuild(ctx, sqlcgen.FailBuildParams{ID: buildID, ReasonMessage: reason.Message,
		ReasonStep: reason.Step, UpdatedAt: micros(at)})
	return changed(n, err, ErrNotFound, "fail build "+buildID)
}

func failAll(
	ctx context.Context,
	q *sqlcgen.Queries,
	ids []string,
	reason shoal.BuildReason,
	at time.Time,
) error {
	for _, id := range ids {
		if err := failBuild(ctx, q, id, reason, at); err != nil {
			return err
		}
	}
	return nil
}

// ExpireBuild is FailBuild for waiting builds only.
func (s *Store) ExpireBuild(ctx context.Context, buildID, reason string, at time.Time) error {
	n, err := s.q.ExpireBuild(
		ctx,
		sqlcgen.ExpireBuildParams{ID: buildID, ReasonMessage: reason, UpdatedAt: micros(at)},
	)
	return changed(n, err, ErrNotFound, "expire build "+buildID)
}

// Rivals returns the template's other builds that are being built and share a tag
// with this one.
func (s *Store) Rivals(ctx context.Context, buildID string) ([]string, error) {
	rows, err := s.q.ListSiblings(ctx, buildID)
	if err != nil {
		return nil, fmt.Errorf("list the rivals of build %s: %w", buildID, err)
	}
	var ids []string
	for _, row := range rows {
		if row.Status == string(shoal.BuildBuilding) {
			ids = append(ids, row.ID)
		}
	}
	return ids, nil
}

// ActiveBuilds returns a team's waiting and building builds, regardless of age.
func (s *Store) ActiveBuilds(ctx context.Context, teamID string) ([]string, error) {
	rows, err := s.q.ListActiveBuilds(ctx, sqlcgen.ListActiveBuildsParams{TeamID: teamID})
	if err != nil {
		return nil, fmt.Errorf("list the builds under way: %w", err)
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids, nil
}

// BuildingOf returns the builds that the named builder is running.
func (s *Store) BuildingOf(ctx context.Context, builder string) ([]string, error) {
	ids, err := s.q.ListBuildsOfBuilder(ctx, builder)
	if err != nil {
		return nil, fmt.Errorf("list the builds of %s: %w", builder, err)
	}
	return ids, nil
}

// StaleBuilds returns the builds with the given status that were created before a time.
func (s *Store) StaleBuilds(
	ctx context.Context,
	status shoal.BuildStatus,
	before time.Time,
) ([]string, error) {
	ids, err := s.q.ListStaleBuilds(
		ctx,
		sqlcgen.ListStaleBuildsParams{Status: string(status), CreatedAt: micros(before)},
	)
	if err != nil {
		return nil, fmt.Errorf("list old builds: %w", err)
	}
	return ids, nil
}

// AssignTags makes the tags point to the build. ErrTooManyTags if the template would have
// more than MaxAssignments.
func (s *Store) AssignTags(ctx context.Context, b shoal.Build, at time.Time, tags ...string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		return assign(ctx, q, b, at, tags...)
	})
}

// RemoveTags removes tags from a template. Tags that it does not have are ignored.
func (s *Store) RemoveTags(ctx context.Context, templateID string, tags ...string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		for _, tag := range tags {
			err := q.DeleteAssignments(ctx, sqlcgen.DeleteAssignmentsParams{TemplateID: templateID, Tag: tag})
			if err != nil {
				return fmt.Errorf("remove tag %s of template %s: %w", tag, templateID, err)
			}
		}
		return nil
	})
}
