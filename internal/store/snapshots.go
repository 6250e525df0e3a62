package store

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// SaveSnapshot stores a build that was made from a sandbox and tags it. It creates the
// template and its aliases if they are new. It deletes the template's builds that are
// left without a tag, and returns their IDs.
func (s *Store) SaveSnapshot(ctx context.Context, t shoal.Template, b shoal.Build,
	tag string) (superseded []string, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := insertTemplate(ctx, q, t); errors.Is(err, ErrExists) {
			// The template exists; this is another build of it.
		} else if err != nil {
			return err
		} else if err := insertAliases(ctx, q, t); err != nil {
			return err
		}
		if err := insertBuild(ctx, q, b); err != nil {
			return err
		}
		if err := assign(ctx, q, b, b.CreatedAt, tag); err != nil {
			return err
		}
		superseded, err = dropUntagged(ctx, q, t.ID)
		return err
	})
	return superseded, err
}

func insertAliases(ctx context.Context, q *sqlcgen.Queries, t shoal.Template) error {
	for _, a := range t.Aliases {
		n, err := q.InsertAlias(ctx, sqlcgen.InsertAliasParams{
			Namespace: a.Namespace, Name: a.Name, TemplateID: t.ID})
		if err := changed(n, err, ErrExists, "name template "+t.ID); err != nil {
			return err
		}
	}
	return nil
}

// dropUntagged deletes a template's builds that are not the newest of any tag.
func dropUntagged(ctx context.Context, q *sqlcgen.Queries, templateID string) (dropped []string, err error) {
	assignments, err := q.AssignmentsOf(ctx, templateID)
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	tagged, used := map[string]bool{}, map[string]bool{}
	for _, a := range assignments {
		if !tagged[a.Tag] {
			tagged[a.Tag], used[a.BuildID] = true, true
		}
	}
	builds, err := q.BuildsOf(ctx, templateID)
	if err != nil {
		return nil, fmt.Errorf("list builds: %w", err)
	}
	for _, b := range builds {
		if used[b.ID] {
			continue
		}
		if err := q.DeleteAssignmentsOfBuild(ctx, b.ID); err != nil {
			return nil, fmt.Errorf("forget build %s: %w", b.ID, err)
		}
		if err := q.DeleteBuild(ctx, b.ID); err != nil {
			return nil, fmt.Errorf("forget build %s: %w", b.ID, err)
		}
		dropped = append(dropped, b.ID)
	}
	return dropped, nil
}

// SnapshotsAfter returns up to limit of a team's snapshot templates that follow the
// position, newest first. If sandboxID is not empty, only templates with a build of that
// sandbox are returned.
func (s *Store) SnapshotsAfter(ctx context.Context, teamID, sandboxID string, after Position,
	limit int) ([]shoal.Template, error) {
	var rows []sqlcgen.Template
	var err error
	if sandboxID == "" {
		rows, err = s.q.ListSnapshotsBefore(ctx, sqlcgen.ListSnapshotsBeforeParams{TeamID: teamID,
			CreatedAt: after.micros(), ID: after.ID, Limit: int32(limit)})
	} else {
		rows, err = s.q.ListSnapshotsOfSandboxBefore(ctx, sqlcgen.ListSnapshotsOfSandboxBeforeParams{
			TeamID: teamID, CreatedAt: after.micros(), ID: after.ID, SandboxID: sandboxID, Limit: int32(limit)})
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return s.allWithAliases(ctx, rows)
}
