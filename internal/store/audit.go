package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// MaxAuditEntries is how many entries of the audit log a team may have, and how many there may be
// of no team. The oldest go for newer ones, whatever their age.
const MaxAuditEntries = 1_000_000

// AddAudit appends entries to the audit log, all or none of them. Those that are there already
// stay as they are.
func (s *Store) AddAudit(ctx context.Context, entries []shoal.AuditEntry) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		for _, e := range entries {
			if err := insertAudit(ctx, q, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func insertAudit(ctx context.Context, q *sqlcgen.Queries, e shoal.AuditEntry) error {
	err := q.InsertAudit(ctx, sqlcgen.InsertAuditParams{ID: e.ID, At: micros(e.At), TeamID: e.TeamID,
		ActorKind: string(e.Actor.Kind), ActorID: e.Actor.ID, UserID: e.Actor.UserID, ActorName: e.Actor.Name,
		Operation: e.Operation, TargetKind: e.TargetKind, TargetID: e.TargetID, Address: e.Address, Agent: e.Agent,
		RequestID: e.RequestID, Status: int64(e.Status), ErrorCode: e.ErrorCode, Count: e.Count})
	if err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	return nil
}

// AuditPlace is where a page of the audit log ended.
type AuditPlace struct {
	At time.Time
	ID string
}

// AuditQuery is a part of the audit log. What is empty chooses nothing.
type AuditQuery struct {
	TeamID      string // of one team, unless Everything is set
	Everything  bool
	Actor       string // kind, ID, user's ID or name of who did it
	Operation   string
	Target      string // kind or ID of what it was done to
	Since       time.Time
	Until       time.Time
	After       *AuditPlace // go on behind this entry
	OldestFirst bool
	Limit       int
}

// endOfTime is later than any entry, and lastID greater than the ID of any.
const (
	endOfTime = int64(1) << 62
	lastID    = "~"
)

// Audit returns a part of the audit log, newest first unless the query says otherwise.
func (s *Store) Audit(ctx context.Context, query AuditQuery) ([]shoal.AuditEntry, error) {
	var rows []sqlcgen.Audit
	var err error
	if query.OldestFirst {
		rows, err = s.auditOldestFirst(ctx, query)
	} else {
		rows, err = s.auditNewestFirst(ctx, query)
	}
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	list := make([]shoal.AuditEntry, len(rows))
	for i, row := range rows {
		list[i] = auditOf(row)
	}
	return list, nil
}

func (s *Store) auditNewestFirst(ctx context.Context, query AuditQuery) ([]sqlcgen.Audit, error) {
	at, id := endOfTime, lastID
	if !query.Until.IsZero() {
		at = micros(query.Until)
	}
	if query.After != nil && micros(query.After.At) <= at {
		at, id = micros(query.After.At), query.After.ID
	}
	if query.Everything {
		return s.q.Audit(ctx, sqlcgen.AuditParams{Since: micros(query.Since), At: at, ID: id, Actor: query.Actor,
			Operation: query.Operation, Target: query.Target, Most: int32(query.Limit)})
	}
	return s.q.TeamAudit(ctx, sqlcgen.TeamAuditParams{Team: query.TeamID, Since: micros(query.Since), At: at, ID: id,
		Actor: query.Actor, Operation: query.Operation, Target: query.Target, Most: int32(query.Limit)})
}

func (s *Store) auditOldestFirst(ctx context.Context, query AuditQuery) ([]sqlcgen.Audit, error) {
	until, at, id := endOfTime, micros(query.Since), ""
	if !query.Until.IsZero() {
		until = micros(query.Until)
	}
	if query.After != nil && micros(query.After.At) >= at {
		at, id = micros(query.After.At), query.After.ID
	}
	if query.Everything {
		return s.q.AuditOldestFirst(ctx, sqlcgen.AuditOldestFirstParams{Until: until, At: at, ID: id,
			Actor: query.Actor, Operation: query.Operation, Target: query.Target, Most: int32(query.Limit)})
	}
	return s.q.TeamAuditOldestFirst(ctx, sqlcgen.TeamAuditOldestFirstParams{Team: query.TeamID, Until: until, At: at,
		ID: id, Actor: query.Actor, Operation: query.Operation, Target: query.Target, Most: int32(query.Limit)})
}

// DropOldAudit removes entries from before a time.
func (s *Store) DropOldAudit(ctx context.Context, before time.Time) error {
	for {
		n, err := s.q.DropOldAudit(ctx, sqlcgen.DropOldAuditParams{At: micros(before), Limit: dropAtOnce})
		if err != nil {
			return fmt.Errorf("remove old entries of the audit log: %w", err)
		}
		if n < dropAtOnce {
			return nil
		}
	}
}

// TrimAudit removes the oldest entries of each team that has more than it may, and writes down how
// many.
func (s *Store) TrimAudit(ctx context.Context, most int64) error {
	counts, err := s.q.CountAudit(ctx)
	if err != nil {
		return fmt.Errorf("count the entries of the audit log: %w", err)
	}
	for _, c := range counts {
		for excess := c.Entries - most; excess > 0; excess -= dropAtOnce {
			if err := s.trimAudit(ctx, c.TeamID, min(excess, dropAtOnce)); err != nil {
				return fmt.Errorf("trim the audit log of team %q: %w", c.TeamID, err)
			}
		}
	}
	return nil
}

func (s *Store) trimAudit(ctx context.Context, teamID string, most int64) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.DropOldestAudit(ctx, sqlcgen.DropOldestAuditParams{TeamID: teamID, Limit: int32(most)})
		if err != nil || n == 0 {
			return err
		}
		return insertAudit(ctx, q, shoal.AuditEntry{ID: shoal.NewAuditID(), At: time.Now(), TeamID: teamID,
			Actor: shoal.Actor{Kind: shoal.ActorShoal}, Operation: shoal.AuditTrimmed, Count: n})
	})
}

func auditOf(row sqlcgen.Audit) shoal.AuditEntry {
	return shoal.AuditEntry{ID: row.ID, At: fromMicros(row.At), TeamID: row.TeamID,
		Actor: shoal.Actor{Kind: shoal.ActorKind(row.ActorKind), ID: row.ActorID, UserID: row.UserID,
			Name: row.ActorName}, Operation: row.Operation, TargetKind: row.TargetKind, TargetID: row.TargetID,
		Address: row.Address, Agent: row.Agent, RequestID: row.RequestID, Status: int(row.Status),
		ErrorCode: row.ErrorCode, Count: row.Count}
}
