package api

import (
	"context"
	"sync"

	"shoal/internal/build"
	"shoal/internal/fleet"
	"shoal/internal/shares"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// storage holds teams to the bytes that they may keep: builds and snapshots of their
// templates, which the store adds up, paused sandboxes, whose sizes machines report, and
// what was uploaded to this api.
//
// What a request keeps is known only afterwards. So one that begins below the bound may pass
// it, but no more than one: see begin. Pauses at a sandbox's deadline are not refused, because
// the sandbox would be lost; a team at its bound begins no more sandboxes that do that.
type storage struct {
	store *store.Store
	fleet *fleet.Fleet
	files *build.Files
	doors shares.Turns // by team: of the request that decides or waits

	mu    sync.Mutex           // guards the rest; nothing is locked while it is held
	teams map[string]*teamSave // by ID, of those that have ever saved something
}

// teamSave is what requests of one team are saving. It is guarded by storage.mu.
type teamSave struct {
	underWay int
	most     int64         // bytes that they may come to
	ended    chan struct{} // closed, and replaced, when one of them ends
}

func newStorage(st *store.Store, machines *fleet.Fleet, files *build.Files) *storage {
	return &storage{store: st, fleet: machines, files: files, teams: map[string]*teamSave{}}
}

// begin lets a request save something of at most a number of bytes, or refuses it if the team
// is at its bound. The caller calls done when the result is stored, or is not there.
//
// Requests save side by side as long as all of them would fit whatever they come to. Closer
// to the bound they take turns, and each sees what the others before it have come to.
func (s *storage) begin(ctx context.Context, team shoal.Team, most int64) (done func(), err error) {
	leave, err := s.doors.Take(ctx, team.ID)
	if err != nil {
		return nil, err
	}
	defer leave()
	save := s.of(team.ID)
	for {
		ended := s.endedOf(save)
		used, err := s.check(ctx, team)
		if err != nil {
			return nil, err
		}
		if s.admit(save, ended, limitOf(team)-used, most) {
			return func() { s.end(save, most) }, nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// check returns how many bytes a team keeps, or an error if it may keep no more. It syncs
// before it refuses, because sandboxes may have ended since the last sync.
func (s *storage) check(ctx context.Context, team shoal.Team) (used int64, err error) {
	used, err = s.used(ctx, team)
	if err != nil || used < limitOf(team) {
		return used, err
	}
	_ = s.fleet.Sync(ctx) // a machine that does not answer counts as it was
	used, err = s.used(ctx, team)
	if err != nil || used < limitOf(team) {
		return used, err
	}
	return used, errStorage(team, used)
}

func errStorage(team shoal.Team, used int64) *shoal.Error {
	return shoal.ErrStorageLimit.New(
		"you have reached the maximum of storage (%d GiB): paused sandboxes, snapshots, templates and uploaded files take %.1f GiB.",
		team.Limits.StorageGB, float64(used)/gib)
}

// upload refuses an upload if a team is at its bound. Otherwise it returns what refuses it
// later, when the team has come to its bound by this upload and those beside it.
func (s *storage) upload(ctx context.Context, teamID string) (full func() error, err error) {
	team, err := s.store.Team(ctx, teamID)
	if err != nil {
		return nil, err
	}
	used, err := s.check(ctx, team)
	if err != nil {
		return nil, err
	}
	before, err := s.files.Kept(teamID)
	if err != nil {
		return nil, err
	}
	return func() error {
		now, err := s.files.Kept(teamID)
		if used += now - before; err == nil && used > limitOf(team) {
			err = errStorage(team, used)
		}
		before = now
		return err
	}, nil
}

const gib = 1 << 30

func limitOf(team shoal.Team) int64 { return team.Limits.StorageGB * gib }

func (s *storage) used(ctx context.Context, team shoal.Team) (int64, error) {
	stored, err := s.store.StoredBytes(ctx, team.ID)
	if err != nil {
		return 0, err
	}
	uploaded, err := s.files.Kept(team.ID)
	return stored + s.fleet.KeptBytes(team.ID) + uploaded, err
}

func (s *storage) of(teamID string) *teamSave {
	s.mu.Lock()
	defer s.mu.Unlock()
	save := s.teams[teamID]
	if save == nil {
		save = &teamSave{ended: make(chan struct{})}
		s.teams[teamID] = save
	}
	return save
}

func (s *storage) endedOf(save *teamSave) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return save.ended
}

// admit enters a request, if there is room for the most that it and those under way come to,
// or none is under way. room was found after ended was; what has ended since may not be part
// of it.
func (s *storage) admit(save *teamSave, ended chan struct{}, room, most int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if save.ended != ended || save.underWay > 0 && save.most+most > room {
		return false
	}
	save.underWay++
	save.most += most
	return true
}

func (s *storage) end(save *teamSave, most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	save.underWay--
	save.most -= most
	close(save.ended)
	save.ended = make(chan struct{})
}

// largestSave is the most that a pause or a snapshot of a sandbox takes, in bytes: its memory,
// its disk, and mostly the disk by itself too.
func largestSave(sb shoal.Sandbox) int64 {
	return (sb.Resources.MemoryMB + 2*sb.Resources.DiskMB) << 20
}
