package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/store/sqlcgen"
)

// ReadyTag is a tag that has led to a ready build.
type ReadyTag struct {
	Tag    string
	Latest time.Time // when a ready build was assigned last
}

// Assignment is an event: from then on a tag led to a build, until the next one.
type Assignment struct {
	BuildID         string
	AssignedAt      time.Time
	BuildCreatedAt  time.Time
	BuildFinishedAt time.Time
}

// ReadyTags returns a template's tags with at least one ready build, in no order.
func (s *Store) ReadyTags(ctx context.Context, templateID string) ([]ReadyTag, error) {
	rows, err := s.q.ListReadyTags(ctx, templateID)
	if err != nil {
		return nil, fmt.Errorf("list the tags of ready builds: %w", err)
	}
	tags := make([]ReadyTag, len(rows))
	for i, row := range rows {
		tags[i] = ReadyTag{Tag: row.Tag, Latest: fromMicros(row.Latest)}
	}
	return tags, nil
}

// ReadyAssignments returns up to limit of a tag's assignments of ready builds that follow the
// position, newest first. The ID of the position is a build's.
func (s *Store) ReadyAssignments(
	ctx context.Context, templateID, tag string, after Position, limit int,
) ([]Assignment, error) {
	rows, err := s.q.ListReadyAssignmentsBefore(ctx, sqlcgen.ListReadyAssignmentsBeforeParams{
		TemplateID: templateID, Tag: tag, CreatedAt: after.micros(), BuildID: after.ID, Limit: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list the assignments of a tag: %w", err)
	}
	list := make([]Assignment, len(rows))
	for i, row := range rows {
		list[i] = Assignment{BuildID: row.BuildID, AssignedAt: fromMicros(row.AssignedAt),
			BuildCreatedAt: fromMicros(row.BuildCreatedAt), BuildFinishedAt: fromMicros(row.BuildFinishedAt)}
	}
	return list, nil
}
