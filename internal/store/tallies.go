package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// AddTallies stores what a machine has counted. A tally that is there already is replaced by
// one that goes on longer.
func (s *Store) AddTallies(ctx context.Context, list []shoal.Tally) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		for _, c := range list {
			err := q.UpsertTally(ctx, sqlcgen.UpsertTallyParams{TeamID: c.TeamID, FromAt: micros(c.From),
				NodeID: c.NodeID, UntilAt: micros(c.Until()), Counts: encodeCounts(c.Counts)})
			if err != nil {
				return fmt.Errorf("store how many sandboxes a team has: %w", err)
			}
		}
		return nil
	})
}

// Tallies returns what machines have counted of a team's sandboxes, by the time of the first
// count. Some counts may be from before or after the range of time.
func (s *Store) Tallies(ctx context.Context, teamID string, from, to time.Time) ([]shoal.Tally, error) {
	rows, err := s.q.Tallies(ctx, sqlcgen.TalliesParams{TeamID: teamID,
		FromAt: micros(from.Add(-shoal.TallyLength)), FromAt_2: micros(to)})
	if err != nil {
		return nil, fmt.Errorf("read how many sandboxes team %s had: %w", teamID, err)
	}
	list := make([]shoal.Tally, len(rows))
	for i, row := range rows {
		list[i] = shoal.Tally{TeamID: row.TeamID, NodeID: row.NodeID, From: fromMicros(row.FromAt)}
		if list[i].Counts, err = decodeCounts(row.Counts); err != nil {
			return nil, fmt.Errorf("read how many sandboxes team %s had: %w", teamID, err)
		}
	}
	return list, nil
}

// ForgetTallies removes what was counted before a time.
func (s *Store) ForgetTallies(ctx context.Context, before time.Time) error {
	if err := s.q.DeleteOldTallies(ctx, micros(before)); err != nil {
		return fmt.Errorf("forget how many sandboxes teams had: %w", err)
	}
	return nil
}

// encodeCounts leaves out zeros, as most counts have no new sandbox.
func encodeCounts(counts []shoal.Count) string {
	var b strings.Builder
	for i, c := range counts {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(c.Running))
		if c.Created != 0 {
			b.WriteString("+" + strconv.Itoa(c.Created))
		}
	}
	return b.String()
}

func decodeCounts(text string) ([]shoal.Count, error) {
	var counts []shoal.Count
	for part := range strings.FieldsSeq(text) {
		running, created, some := strings.Cut(part, "+")
		var c shoal.Count
		var err error
		if c.Running, err = strconv.Atoi(running); err == nil && some {
			c.Created, err = strconv.Atoi(created)
		}
		if err != nil {
			return nil, err
		}
		counts = append(counts, c)
	}
	return counts, nil
}
