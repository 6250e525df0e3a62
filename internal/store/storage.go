package store

import (
	"context"
	"fmt"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// MeasureBuild stores what a build takes on its machine, unless that is stored already. It
// does nothing for an unknown build, or without a size.
func (s *Store) MeasureBuild(ctx context.Context, b shoal.Build) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error { return measureBuild(ctx, q, b) })
}

func measureBuild(ctx context.Context, q *sqlcgen.Queries, b shoal.Build) error {
	images := b.Images()
	if b.Size == nil || len(b.Size.Images) != len(images) {
		return nil
	}
	n, err := q.MeasureBuild(ctx, sqlcgen.MeasureBuildParams{ID: b.ID, Bytes: b.Size.Snapshot})
	if err != nil {
		return fmt.Errorf("measure build %s: %w", b.ID, err)
	}
	if n == 0 {
		return nil
	}
	for i, digest := range images {
		err := q.InsertBuildImage(ctx, sqlcgen.InsertBuildImageParams{
			BuildID: b.ID, Digest: digest, Bytes: b.Size.Images[i]})
		if err != nil {
			return fmt.Errorf("measure an image of build %s: %w", b.ID, err)
		}
	}
	return nil
}

// StoredBytes is what a team's builds and snapshots take, except failed ones and those of
// deleted templates, in bytes. What several of them share counts once. Builds that nobody
// has measured count as nothing.
func (s *Store) StoredBytes(ctx context.Context, teamID string) (int64, error) {
	bytes, err := s.q.StoredBytes(ctx, teamID)
	return bytes, lookup(err, "add up what team "+teamID+" stores")
}
