package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

const (
	// placeHeld is how long a start may take whose end nobody tells: longer than any request.
	placeHeld = 90 * time.Second
	// placeKept is how long a place stays without its machine having been asked. Each list of the
	// machine's sandboxes renews it.
	placeKept = 10 * time.Minute
)

// TakePlace takes a place for a sandbox that is about to start, or returns the error for the limit that
// leaves none. All apis of the installation take a team's places one after the other, so together they
// have no more than it may. A sandbox has one place, however often it is taken. The caller ends the
// start by SettlePlace or ReleasePlace.
func (s *Store) TakePlace(ctx context.Context, r shoal.PlaceRequest) (shoal.Place, error) {
	now := time.Now()
	p := shoal.Place{TeamID: r.TeamID, SandboxID: r.SandboxID, Stamp: rand.Int64(), HeldUntil: now.Add(placeHeld)}
	err := s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.LockTeam(ctx, r.TeamID) // until the end of the transaction
		if err := changed(n, err, ErrNotFound, "wait for a team's turn"); err != nil {
			return err
		}
		taken, err := q.PlacesOfTeam(ctx, sqlcgen.PlacesOfTeamParams{TeamID: r.TeamID, ExpiresAt: micros(now)})
		if err != nil {
			return fmt.Errorf("read a team's places: %w", err)
		}
		p.Joined = slices.Contains(taken, r.SandboxID)
		if refused := r.Limits.Refuse(others(r, taken)); refused != nil {
			return refused
		}
		err = q.UpsertPlace(ctx, sqlcgen.UpsertPlaceParams{SandboxID: p.SandboxID, TeamID: p.TeamID, Stamp: p.Stamp,
			HeldUntil: micros(p.HeldUntil)})
		return lookup(err, "take a place")
	})
	return p, err
}

// others counts a team's other sandboxes: those that run, and all.
func others(r shoal.PlaceRequest, taken []string) (running, all int) {
	known := map[string]bool{r.SandboxID: true}
	count := func(ids []string) (n int) {
		for _, id := range ids {
			if !known[id] {
				known[id] = true
				n++
			}
		}
		return n
	}
	running = count(taken) + count(r.Running)
	return running, running + count(r.Paused)
}

// SettlePlace ends a start: the sandbox runs on a machine.
func (s *Store) SettlePlace(ctx context.Context, p shoal.Place, nodeID string) error {
	err := s.q.SettlePlace(ctx, sqlcgen.SettlePlaceParams{SandboxID: p.SandboxID, TeamID: p.TeamID, Node: nodeID,
		Stamp: p.Stamp, ExpiresAt: micros(time.Now().Add(placeKept))})
	return lookup(err, "keep a place")
}

// ReleasePlace ends a start that has failed.
func (s *Store) ReleasePlace(ctx context.Context, p shoal.Place) error {
	if p.Joined {
		err := s.q.UnholdPlace(ctx, sqlcgen.UnholdPlaceParams{SandboxID: p.SandboxID, Stamp: p.Stamp})
		return lookup(err, "let go of a place")
	}
	err := s.q.ReleasePlace(ctx, sqlcgen.ReleasePlaceParams{SandboxID: p.SandboxID, Stamp: p.Stamp})
	return lookup(err, "give a place back")
}

// FreePlace gives back the place of a sandbox that was paused, unless it is being resumed, or of one that
// has ended.
func (s *Store) FreePlace(ctx context.Context, sandboxID string, ended bool) error {
	held := int64(math.MaxInt64)
	if !ended {
		held = micros(time.Now())
	}
	err := s.q.FreePlace(ctx, sqlcgen.FreePlaceParams{SandboxID: sandboxID, HeldUntil: held})
	return lookup(err, "free a place")
}

// PlacesOn returns the places of sandboxes on a machine.
func (s *Store) PlacesOn(ctx context.Context, nodeID string) ([]shoal.Place, error) {
	rows, err := s.q.PlacesOn(ctx, nodeID)
	if err != nil {
		return nil, fmt.Errorf("read the places on machine %s: %w", nodeID, err)
	}
	list := make([]shoal.Place, len(rows))
	for i, row := range rows {
		list[i] = shoal.Place{TeamID: row.TeamID, SandboxID: row.SandboxID, NodeID: row.Node, Stamp: row.Stamp,
			HeldUntil: fromMicros(row.HeldUntil), ExpiresAt: fromMicros(row.ExpiresAt)}
	}
	return list, nil
}

// ComparePlaces brings a machine's places into line with its list of running sandboxes. before are the
// places as they were before the list was asked for: of those, what is not on it goes. What is on it and
// has no place, as after a resume that the machine decided by itself, gets one, even beyond a limit.
func (s *Store) ComparePlaces(ctx context.Context, nodeID string, before []shoal.Place, running []shoal.Sandbox) error {
	now := time.Now()
	fresh, gone := map[string]bool{}, map[string]shoal.Place{}
	for _, p := range before {
		if fresh[p.SandboxID] = p.ExpiresAt.Sub(now) > placeKept/2; p.HeldUntil.Before(now) {
			gone[p.SandboxID] = p
		}
	}
	var kept []shoal.Sandbox
	for _, sb := range running {
		delete(gone, sb.SandboxID)
		if !fresh[sb.SandboxID] {
			kept = append(kept, sb)
		}
	}
	if len(kept) == 0 && len(gone) == 0 {
		return dropPlaces(ctx, s.q, nil, now)
	}
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := keepPlaces(ctx, q, nodeID, kept, now.Add(placeKept)); err != nil {
			return err
		}
		return dropPlaces(ctx, q, gone, now)
	})
}

// keepPlaces takes the teams' turns in the order of their IDs, as other apis do at the same time.
func keepPlaces(ctx context.Context, q *sqlcgen.Queries, nodeID string, kept []shoal.Sandbox, until time.Time) error {
	slices.SortFunc(kept, func(a, b shoal.Sandbox) int {
		return cmp.Or(cmp.Compare(a.TeamID, b.TeamID), cmp.Compare(a.SandboxID, b.SandboxID))
	})
	team, there := "", false
	for _, sb := range kept {
		if sb.TeamID != team {
			n, err := q.LockTeam(ctx, sb.TeamID)
			if err != nil {
				return fmt.Errorf("wait for a team's turn: %w", err)
			}
			team, there = sb.TeamID, n > 0
		}
		if !there {
			continue
		}
		err := q.KeepPlace(ctx, sqlcgen.KeepPlaceParams{SandboxID: sb.SandboxID, TeamID: sb.TeamID, Node: nodeID,
			Stamp: rand.Int64(), ExpiresAt: micros(until)})
		if err != nil {
			return fmt.Errorf("keep a place: %w", err)
		}
	}
	return nil
}

func dropPlaces(ctx context.Context, q *sqlcgen.Queries, gone map[string]shoal.Place, now time.Time) error {
	ids := make([]string, 0, len(gone))
	for id := range gone {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		err := q.DropPlace(ctx, sqlcgen.DropPlaceParams{SandboxID: id, Stamp: gone[id].Stamp, HeldUntil: micros(now)})
		if err != nil {
			return fmt.Errorf("free a place: %w", err)
		}
	}
	return lookup(q.DeleteExpiredPlaces(ctx, micros(now)), "remove places that have expired")
}
