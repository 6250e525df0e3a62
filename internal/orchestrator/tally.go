package orchestrator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"shoal/internal/shoal"
)

// maxTallies is how many ended tallies wait for apis: with 80 teams at once, five hours'.
const maxTallies = 5000

// tally counts the sandboxes of each team at every multiple of SamplePeriod, so that the counts
// of several machines add up. It keeps them for as long as apis may take to come for them.
type tally struct {
	nodeID string

	mu    sync.Mutex // guards the rest
	fresh map[string]int
	open  map[string]*shoal.Tally // by team
	ended []shoal.Tally
}

func newTally(nodeID string) *tally {
	return &tally{nodeID: nodeID, fresh: map[string]int{}, open: map[string]*shoal.Tally{}}
}

// created counts a new sandbox of a team.
func (c *tally) created(teamID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh[teamID]++
}

// run counts until ctx ends.
func (c *tally) run(ctx context.Context, t *table) error {
	timer := time.NewTimer(untilNextCount(time.Now()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		now := time.Now()
		c.count(now, t.running())
		timer.Reset(untilNextCount(now))
	}
}

func untilNextCount(now time.Time) time.Duration {
	return now.Truncate(shoal.SamplePeriod).Add(shoal.SamplePeriod).Sub(now)
}

// count takes the numbers of now.
func (c *tally) count(now time.Time, running map[string]int) {
	at := now.UTC().Truncate(shoal.SamplePeriod)
	c.mu.Lock()
	defer c.mu.Unlock()
	teams := map[string]int{}
	maps.Copy(teams, running)
	for team := range c.fresh {
		teams[team] += 0
	}
	for team, open := range c.open {
		if _, counted := teams[team]; !counted && open.Counts[len(open.Counts)-1] != (shoal.Count{}) {
			teams[team] = 0 // once, so that a graph comes down
		} else if !counted {
			c.endLocked(team)
		}
	}
	for team := range teams {
		if c.addLocked(team, at, shoal.Count{Running: running[team], Created: c.fresh[team]}) {
			delete(c.fresh, team)
		}
	}
}

// addLocked adds a count to the team's tally, or begins the next. It returns false if the time
// has been counted, as when the clock was put back. c.mu is held.
func (c *tally) addLocked(team string, at time.Time, count shoal.Count) bool {
	open, ok := c.open[team]
	if ok && !at.After(open.Until()) {
		return false
	}
	follows := ok && at.Equal(open.Until().Add(shoal.SamplePeriod)) &&
		at.Truncate(shoal.TallyLength).Equal(open.From.Truncate(shoal.TallyLength))
	if !follows {
		c.endLocked(team)
		open = &shoal.Tally{TeamID: team, NodeID: c.nodeID, From: at}
		c.open[team] = open
	}
	open.Counts = append(open.Counts, count)
	return true
}

// endLocked ends a team's tally, if there is one; c.mu is held.
func (c *tally) endLocked(team string) {
	open, ok := c.open[team]
	if !ok {
		return
	}
	delete(c.open, team)
	if len(c.ended) >= maxTallies {
		c.ended = slices.Delete(c.ended, 0, len(c.ended)-maxTallies+1)
	}
	c.ended = append(c.ended, *open)
}

// after returns the tallies with a count from after a time.
func (c *tally) after(t time.Time) []shoal.Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []shoal.Tally
	for _, ended := range c.ended {
		if ended.Until().After(t) {
			list = append(list, ended)
		}
	}
	for _, open := range c.open {
		if open.Until().After(t) {
			copied := *open
			copied.Counts = slices.Clone(open.Counts)
			list = append(list, copied)
		}
	}
	return list
}
