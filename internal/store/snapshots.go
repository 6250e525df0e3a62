package store

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// SaveSnapshot stores a build that was made of a sandbox, under a tag of its
// template, which is created with its aliases if it is new. It returns the builds
// that no tag leads to any more and that are forgotten thereby.
func (s *Store) SaveSnapshot(ctx context.Context, t shoal.Template, b shoal.Build, tag string) (superseded []string, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := insertTemplate(ctx, q, t); errors.Is(err, ErrExists) {
			// A further build of it.
		} else if err != nil {
			return err
		} else if err := insertAliases(ctx, q, t); err != nil {
			return err
		}
		if err := insertBuild(ctx, q, b); err != nil {
			return err
		}
		if err := assign(ctx, q, b, tag); err != nil {
			return err
		}
		superseded, err = dropUntagged(ctx, q, t.ID)
		return err
	})
	return superseded, err
}

func insertAliases(ctx context.Context, q *sqlcgen.Queries, t shoal.Template) error {
	for _, a := range t.Aliases {
		n, err := q.InsertAlias(ctx, sqlcgen.InsertAliasParams{Namespace: a.Namespace, Name: a.Name, TemplateID: t.ID})
		if err := changed(n, err, ErrExists, "name template "+t.ID); err != nil {
			return err
		}
	}
	return nil
}

// dropUntagged deletes the builds of a template that are not the newest of any tag.
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

// SnapshotsAfter returns up to limit of a team's templates that were made of
// sandboxes and that follow the position, newest first. A sandbox ID restricts
// them to those with a build of that sandbox.
func (s *Store) SnapshotsAfter(ctx context.Context, teamID, sandboxID string, after Position, limit int) ([]shoal.Template, error) {
	var rows []sqlcgen.Template
	var err error
	if sandboxID == "" {
		rows, err = s.q.ListSnapshotsBefore(ctx, sqlcgen.ListSnapshotsBeforeParams{TeamID: teamID,
			CreatedAt: after.micros(), ID: after.ID, Limit: int32(limit)})
	} else {
		rows, err = s.q.ListSnapshotsOfSandboxBefore(ctx, sqlcgen.ListSnapshotsOfSandboxBeforeParams{TeamID: teamID,
			CreatedAt: after.micros(), ID: after.ID, SandboxID: sandboxID, Limit: int32(limit)})
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return s.allWithAliases(ctx, rows)
}
