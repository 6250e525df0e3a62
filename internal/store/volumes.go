package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// ErrTooManyVolumes means that a team has as many volumes as its limits allow.
var ErrTooManyVolumes = errors.New("the team has as many volumes as it may")

// AddVolume stores a volume of a team that may have at most so many. ErrExists if the team has
// one of the name.
func (s *Store) AddVolume(ctx context.Context, v shoal.Volume, most int) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.LockTeam(ctx, v.TeamID)
		if err := changed(n, err, ErrNotFound, "find team "+v.TeamID); err != nil {
			return err
		}
		n, err = q.InsertVolume(ctx, sqlcgen.InsertVolumeParams{ID: v.ID, TeamID: v.TeamID, Name: v.Name,
			Backend: v.Backend, CreatedAt: micros(v.CreatedAt)})
		if err := changed(n, err, ErrExists, "store a volume"); err != nil {
			return err
		}
		count, err := q.CountVolumes(ctx, v.TeamID)
		if err != nil {
			return fmt.Errorf("count volumes: %w", err)
		}
		if count > int64(most) {
			return ErrTooManyVolumes // undoes the insertion
		}
		return nil
	})
}

// Volumes returns a team's volumes, oldest first.
func (s *Store) Volumes(ctx context.Context, teamID string) ([]shoal.Volume, error) {
	rows, err := s.q.ListVolumes(ctx, teamID)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	return volumesOf(rows), nil
}

// Volume returns one of a team's volumes.
func (s *Store) Volume(ctx context.Context, teamID, id string) (shoal.Volume, error) {
	row, err := s.q.VolumeByID(ctx, sqlcgen.VolumeByIDParams{ID: id, TeamID: teamID})
	return volumeOf(row), lookup(err, "find a volume")
}

// RemoveVolume removes a volume of a team at once for all who ask. It is among RemovedVolumes until
// ForgetVolume.
func (s *Store) RemoveVolume(ctx context.Context, teamID, id string, now time.Time) error {
	n, err := s.q.RemoveVolume(ctx, sqlcgen.RemoveVolumeParams{ID: id, TeamID: teamID, RemovedAt: micros(now)})
	return changed(n, err, ErrNotFound, "remove a volume")
}

// RemovedVolumes returns some of those whose content may not be gone, the first ones first.
func (s *Store) RemovedVolumes(ctx context.Context) ([]shoal.Volume, error) {
	rows, err := s.q.RemovedVolumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list removed volumes: %w", err)
	}
	return volumesOf(rows), nil
}

// ForgetVolume is called when the content of a removed volume is gone.
func (s *Store) ForgetVolume(ctx context.Context, id string) error {
	if err := s.q.DeleteVolume(ctx, id); err != nil {
		return fmt.Errorf("forget a volume: %w", err)
	}
	return nil
}

func volumesOf(rows []sqlcgen.Volume) []shoal.Volume {
	list := make([]shoal.Volume, len(rows))
	for i, row := range rows {
		list[i] = volumeOf(row)
	}
	return list
}

func volumeOf(row sqlcgen.Volume) shoal.Volume {
	return shoal.Volume{ID: row.ID, TeamID: row.TeamID, Name: row.Name, Backend: row.Backend,
		CreatedAt: fromMicros(row.CreatedAt)}
}
