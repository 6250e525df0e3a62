package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type eventCmd struct {
	Team   string         `help:"Slug of the team. The first team by default." placeholder:"SLUG"`
	List   eventListCmd   `cmd:"" help:"List events, newest first."`
	Follow eventFollowCmd `cmd:"" help:"Print events as they come, until it is interrupted."`
}

type eventListCmd struct {
	Sandbox string   `placeholder:"ID" help:"Only of this sandbox."`
	Type    []string `placeholder:"TYPE,…" help:"Only of these types, such as killed."`
	Limit   int      `default:"50" help:"How many, 1000 at most."`
	JSON    bool     `name:"json" help:"One JSON object a line."`
}

type eventFollowCmd struct {
	Sandbox string `placeholder:"ID" help:"Only of this sandbox."`
	JSON    bool   `name:"json" help:"One JSON object a line."`
}

// maxListed is how many events or deliveries a command lists at most.
const maxListed = 1000

// eventPrefix is left out by whoever types.
const eventPrefix = "sandbox.lifecycle."

func (c *eventListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	types, err := parseEventTypes(c.Type)
	if err != nil {
		return err
	}
	return withTeam(ctx, cfg, all.Event.Team, func(st *store.Store, team shoal.Team) error {
		list, err := st.Events(ctx, store.EventQuery{TeamID: team.ID, SandboxID: c.Sandbox, Types: types,
			Limit: min(max(c.Limit, 1), maxListed)})
		if err != nil {
			return err
		}
		return printEvents(os.Stdout, list, c.JSON, true)
	})
}

// parseEventTypes reads types with or without what all of them begin with.
func parseEventTypes(words []string) ([]shoal.EventType, error) {
	var types []shoal.EventType
	for _, word := range words {
		found := false
		for _, t := range shoal.EventTypes {
			if word == string(t) || eventPrefix+word == string(t) {
				types, found = append(types, t), true
			}
		}
		if !found {
			return nil, fmt.Errorf("%q is no type of events; there are %v", word, shoal.EventTypes)
		}
	}
	return types, nil
}

func printEvents(w io.Writer, list []shoal.Event, asJSON, head bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		for _, e := range list {
			if err := encoder.Encode(e.Wire()); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, len(list))
	for i, e := range list {
		rows[i] = []string{e.Time.Format(time.RFC3339), string(e.Type[len(eventPrefix):]), e.SandboxID,
			strconv.FormatInt(e.Number, 10), e.Data}
	}
	if !head {
		return writeTable(w, "", rows)
	}
	return writeTable(w, "TIME\tTYPE\tSANDBOX\tNUMBER\tDATA", rows)
}

const (
	followPeriod = time.Second
	// followBack is how far each look goes back, because events that were stored at the same
	// moment are not seen at the same moment.
	followBack = 10 * time.Second
)

func (c *eventFollowCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Event.Team, func(st *store.Store, team shoal.Team) error {
		f := follower{store: st, team: team.ID, seen: map[string]time.Time{}, since: time.Now()}
		tick := time.NewTicker(followPeriod)
		defer tick.Stop()
		for {
			list, err := f.next(ctx)
			if ctx.Err() != nil {
				return nil // it was interrupted
			}
			if err != nil {
				return err
			}
			var shown []shoal.Event
			for _, e := range list {
				if c.Sandbox == "" || e.SandboxID == c.Sandbox {
					shown = append(shown, e)
				}
			}
			if err := printEvents(os.Stdout, shown, c.JSON, false); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

// follower finds each new event once.
type follower struct {
	store *store.Store
	team  string
	seen  map[string]time.Time // when those were stored that a look may find again
	since time.Time
}

func (f *follower) next(ctx context.Context) ([]shoal.Event, error) {
	var fresh []shoal.Event
	from := f.since
	for {
		rows, err := f.store.EventsStoredSince(ctx, f.team, from, maxListed)
		if err != nil {
			return nil, err
		}
		news := 0
		for _, row := range rows {
			if _, seen := f.seen[row.ID]; !seen {
				f.seen[row.ID] = row.StoredAt
				fresh = append(fresh, row.Event)
				news++
			}
		}
		if len(rows) < maxListed || news == 0 {
			break
		}
		from = rows[len(rows)-1].StoredAt
	}
	if back := time.Now().Add(-followBack); back.After(f.since) {
		f.since = back
	}
	for id, at := range f.seen {
		if at.Before(f.since) {
			delete(f.seen, id)
		}
	}
	return fresh, nil
}
