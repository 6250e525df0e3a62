package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// TagAssignment is the newest build of a tag.
type TagAssignment struct {
	Tag       string
	BuildID   string
	CreatedAt time.Time
}

// MaxAssignments bounds the tags of a template: the assignments of tags to builds, earlier
// ones included, which lead to a tag's build while a newer one is not ready. Of a tag, the
// newest hundred are kept.
const MaxAssignments = 10_000

// ErrTooManyTags means that a template has MaxAssignments.
var ErrTooManyTags = errors.New("the template has as many assignments of tags as it may")

// AddBuild stores a build of an existing template and assigns it the tags, dated
// at its creation. ErrExists if the ID is taken.
func (s *Store) AddBuild(ctx context.Context, b shoal.Build, tags ...string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := insertBuild(ctx, q, b); err != nil {
			return err
		}
		return assign(ctx, q, b, b.CreatedAt, tags...)
	})
}

// UpsertBase registers a machine's build of the base template, which is public, owned
// by the team, and known to everyone as "base". The newest build gets the default tag.
// Repeating the call changes nothing.
func (s *Store) UpsertBase(ctx context.Context, b shoal.Build, teamID string) error {
	b.TemplateID = shoal.BaseTemplateID
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		err := insertTemplate(ctx, q, shoal.Template{ID: b.TemplateID, TeamID: teamID, Public: true,
			CreatedAt: b.CreatedAt, UpdatedAt: b.CreatedAt})
		if err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		if _, err := q.InsertAlias(ctx, sqlcgen.InsertAliasParams{
			Name: shoal.BaseTemplateID, TemplateID: b.TemplateID}); err != nil {
			return fmt.Errorf("name the base template: %w", err)
		}
		newest, err := q.NewestBuildOfTag(ctx, sqlcgen.NewestBuildOfTagParams{
			TemplateID: b.TemplateID, Tag: shoal.DefaultTag})
		if err = lookup(err, "find the base build"); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && (newest.Build.ID == b.ID || newest.AssignedAt >= micros(b.CreatedAt)) {
			return updateBuild(ctx, q, b) // its disk size or envd version may have changed
		}
		if err := insertBuild(ctx, q, b); err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		if err := updateBuild(ctx, q, b); err != nil {
			return err
		}
		return assign(ctx, q, b, b.CreatedAt, shoal.DefaultTag)
	})
}

// Build returns one build of a template.
func (s *Store) Build(ctx context.Context, templateID, buildID string) (shoal.Build, error) {
	row, err := s.q.BuildByID(ctx, sqlcgen.BuildByIDParams{TemplateID: templateID, ID: buildID})
	return found(row, err, "find build "+buildID)
}

// NewestBuild returns the newest build of a tag, whatever its status.
func (s *Store) NewestBuild(ctx context.Context, templateID, tag string) (shoal.Build, error) {
	row, err := s.q.NewestBuildOfTag(ctx, sqlcgen.NewestBuildOfTagParams{TemplateID: templateID, Tag: tag})
	return found(row.Build, err, "find a build of "+templateID+":"+tag)
}

// ReadyBuild returns the newest ready build of a tag.
func (s *Store) ReadyBuild(ctx context.Context, templateID, tag string) (shoal.Build, error) {
	row, err := s.q.NewestBuildOfTagWithStatus(ctx, sqlcgen.NewestBuildOfTagWithStatusParams{
		TemplateID: templateID, Tag: tag, Status: string(shoal.BuildReady)})
	return found(row, err, "find a ready build of "+templateID+":"+tag)
}

// BuildsAfter returns up to limit of a template's builds that follow the
// position, newest first.
func (s *Store) BuildsAfter(
	ctx context.Context,
	templateID string,
	after Position,
	limit int,
) ([]shoal.Build, error) {
	rows, err := s.q.ListBuildsBefore(ctx, sqlcgen.ListBuildsBeforeParams{TemplateID: templateID,
		CreatedAt: after.micros(), ID: after.ID, Limit: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list builds: %w", err)
	}
	list := make([]shoal.Build, len(rows))
	for i, row := range rows {
		if list[i], err = decodeBuild(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// BuildsOf returns the IDs of a template's builds, even if the template was deleted.
func (s *Store) BuildsOf(ctx context.Context, templateID string) ([]string, error) {
	rows, err := s.q.BuildsOf(ctx, templateID)
	if err != nil {
		return nil, fmt.Errorf("list the builds of template %s: %w", templateID, err)
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids, nil
}

// BuildIDs returns the IDs of all builds, except failed ones and those of deleted
// templates.
func (s *Store) BuildIDs(ctx context.Context) ([]string, error) {
	ids, err := s.q.BuildIDs(ctx)
	return ids, lookup(err, "list builds")
}

// EndedBuildIDs returns the IDs that BuildIDs leaves out: those of failed and retired builds,
// and of the builds of deleted templates.
func (s *Store) EndedBuildIDs(ctx context.Context) ([]string, error) {
	ids, err := s.q.EndedBuildIDs(ctx)
	return ids, lookup(err, "list builds that have ended")
}

// Tags returns the newest assignment of each tag of a template, newest first.
func (s *Store) Tags(ctx context.Context, templateID string) ([]TagAssignment, error) {
	rows, err := s.q.AssignmentsOf(ctx, templateID)
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	seen := map[string]bool{}
	var tags []TagAssignment
	for _, row := range rows {
		if !seen[row.Tag] {
			seen[row.Tag] = true
			tags = append(
				tags,
				TagAssignment{Tag: row.Tag, BuildID: row.BuildID, CreatedAt: fromMicros(row.CreatedAt)},
			)
		}
	}
	return tags, nil
}

func insertBuild(ctx context.Context, q *sqlcgen.Queries, b shoal.Build) error {
	text, err := encodeBuild(b)
	if err != nil {
		return err
	}
	n, err := q.InsertBuild(
		ctx,
		sqlcgen.InsertBuildParams{ID: b.ID, TemplateID: b.TemplateID, Status: string(b.Status),
			CpuCount: int64(b.Resources.CPUCount), MemoryMb: b.Resources.MemoryMB, DiskMb: b.Resources.DiskMB,
			EnvdVersion: b.EnvdVersion, ImageDigest: b.ImageDigest,
			DefaultUser: b.DefaultUser, DefaultWorkdir: b.DefaultWorkdir,
			CreatedAt: micros(b.CreatedAt), UpdatedAt: micros(b.UpdatedAt), FinishedAt: micros(b.FinishedAt),
			Layers: text.layers, Origin: b.Origin, Context: text.context,
			StartCmd: b.Start.Command, ReadyCmd: b.Start.Ready, StartContext: text.startContext,
			Snapshot: b.Snapshot, SandboxID: b.SandboxID, Runtime: text.runtime},
	)
	if err := changed(n, err, ErrExists, "create build "+b.ID); err != nil {
		return err
	}
	err = q.CountBuild(ctx, sqlcgen.CountBuildParams{ID: b.TemplateID, UpdatedAt: micros(b.CreatedAt)})
	if err := lookup(err, "count the builds of template "+b.TemplateID); err != nil {
		return err
	}
	return measureBuild(ctx, q, b)
}

func updateBuild(ctx context.Context, q *sqlcgen.Queries, b shoal.Build) error {
	err := q.UpdateBuild(ctx, sqlcgen.UpdateBuildParams{ID: b.ID, Status: string(b.Status),
		CpuCount: int64(b.Resources.CPUCount), MemoryMb: b.Resources.MemoryMB, DiskMb: b.Resources.DiskMB,
		EnvdVersion: b.EnvdVersion, ImageDigest: b.ImageDigest,
		DefaultUser: b.DefaultUser, DefaultWorkdir: b.DefaultWorkdir,
		UpdatedAt: micros(b.UpdatedAt), FinishedAt: micros(b.FinishedAt)})
	return lookup(err, "update build "+b.ID)
}

// assign makes tags lead to a build from a time on, within MaxAssignments.
func assign(ctx context.Context, q *sqlcgen.Queries, b shoal.Build, at time.Time, tags ...string) error {
	for _, tag := range tags {
		err := q.PruneAssignments(ctx, sqlcgen.PruneAssignmentsParams{TemplateID: b.TemplateID, Tag: tag,
			CreatedAt: micros(at), BuildID: b.ID})
		if err == nil {
			err = q.InsertAssignment(ctx, sqlcgen.InsertAssignmentParams{TemplateID: b.TemplateID, Tag: tag,
				CreatedAt: micros(at), BuildID: b.ID})
		}
		if err != nil {
			return fmt.Errorf("tag build %s: %w", b.ID, err)
		}
	}
	n, err := q.CountAssignments(ctx, b.TemplateID)
	if err != nil {
		return fmt.Errorf("count the tags of template %s: %w", b.TemplateID, err)
	}
	if n > MaxAssignments && len(tags) > 0 {
		return ErrTooManyTags
	}
	return nil
}
