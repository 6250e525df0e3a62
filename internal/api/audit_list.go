package api

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListAudit lists a page of the team's part of the audit log.
func (s *Server) ListAudit(
	ctx context.Context, req gen.ListAuditRequestObject,
) (gen.ListAuditResponseObject, error) {
	p := req.Params
	caller := callerOf(ctx)
	entries, next, err := s.auditPage(ctx, store.AuditQuery{TeamID: caller.Team.ID, Actor: deref(p.Actor),
		Operation: deref(p.Operation), Target: deref(p.Target), Since: deref(p.Since), Until: deref(p.Until),
		Limit: pageSize(p.Limit)}, p.NextToken)
	if err != nil {
		return nil, err
	}
	answer := gen.ListAudit200JSONResponse{Body: make([]gen.AuditEntry, len(entries)),
		Headers: gen.ListAudit200ResponseHeaders{XNextToken: optional(next)}}
	for i, e := range entries {
		if !caller.Operator {
			e = forTeam(e)
		}
		answer.Body[i] = WireAudit(e)
	}
	return answer, nil
}

// ListAllAudit lists a page of the whole log.
func (s *Server) ListAllAudit(
	ctx context.Context, req gen.ListAllAuditRequestObject,
) (gen.ListAllAuditResponseObject, error) {
	p := req.Params
	query := store.AuditQuery{Everything: p.Team == nil, TeamID: deref(p.Team), Actor: deref(p.Actor),
		Operation: deref(p.Operation), Target: deref(p.Target), Since: deref(p.Since), Until: deref(p.Until),
		Limit: pageSize(p.Limit)}
	if p.Team != nil {
		if id, err := uuid.Parse(*p.Team); err == nil {
			query.TeamID = id.String()
		}
	}
	entries, next, err := s.auditPage(ctx, query, p.NextToken)
	if err != nil {
		return nil, err
	}
	answer := gen.ListAllAudit200JSONResponse{Body: make([]gen.AuditEntry, len(entries)),
		Headers: gen.ListAllAudit200ResponseHeaders{XNextToken: optional(next)}}
	for i, e := range entries {
		answer.Body[i] = WireAudit(e)
	}
	return answer, nil
}

// auditPage returns a page of a query's entries and the token of the next one, "" if there is none.
func (s *Server) auditPage(
	ctx context.Context, query store.AuditQuery, token *string,
) (entries []shoal.AuditEntry, next string, err error) {
	after, err := decodeCursor(token, false)
	if err != nil {
		return nil, "", err
	}
	if after != nil {
		if uuid.Validate(after.id) != nil {
			return nil, "", shoal.ErrBadRequest.New("Invalid next token")
		}
		query.After = &store.AuditPlace{At: after.at, ID: after.id}
	}
	for _, at := range []time.Time{query.Since, query.Until} {
		if !at.IsZero() && (at.Year() < 1970 || at.Year() > 9999) {
			return nil, "", shoal.ErrBadRequest.New("since and until lie between the years 1970 and 9999")
		}
	}
	if !isPlain(query.TeamID + query.Actor + query.Operation + query.Target) {
		return nil, "", nil // no entry has it, and not every database takes it
	}
	size := query.Limit
	query.Limit++
	if entries, err = s.store.Audit(ctx, query); err != nil || len(entries) <= size {
		return entries, "", err
	}
	entries = entries[:size]
	last := entries[size-1]
	return entries, encodeCursor(cursor{at: last.At, id: last.ID}, false), nil
}

// isPlain reports whether a text is one as entries have it.
func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// forTeam leaves out where operators are and how their machine names its users: those are none of
// a team's matters.
func forTeam(e shoal.AuditEntry) shoal.AuditEntry {
	switch e.Actor.Kind {
	case shoal.ActorOperator, shoal.ActorHost, shoal.ActorShoal:
		e.Address, e.Agent, e.Actor.ID, e.Actor.Name = "", "", "", ""
	}
	return e
}

// WireAudit is an entry as GET /admin/audit has it.
func WireAudit(e shoal.AuditEntry) gen.AuditEntry {
	w := gen.AuditEntry{Id: e.ID, At: e.At, TeamID: optional(e.TeamID), Operation: e.Operation,
		Actor: gen.AuditActor{Kind: gen.AuditActorKind(e.Actor.Kind), Id: optional(e.Actor.ID),
			UserID: optional(e.Actor.UserID), Name: optional(e.Actor.Name)},
		Address: optional(e.Address), UserAgent: optional(e.Agent), RequestID: optional(e.RequestID),
		Status: int32(e.Status), ErrorCode: optional(e.ErrorCode), Count: e.Count}
	if e.TargetKind != "" {
		w.Target = &gen.AuditTarget{Kind: e.TargetKind, Id: e.TargetID}
	}
	return w
}
