package api

import (
	"context"
	"net/http"
	"slices"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

type callerKey struct{}

// callerOf returns who sent the request. It is set for every operation that asks
// for an API key.
func callerOf(ctx context.Context) auth.Caller {
	caller, _ := ctx.Value(callerKey{}).(auth.Caller)
	return caller
}

// authorize checks the credentials that a route asks for and the standing of the
// caller's team, and puts the caller into the request.
func (s *Server) authorize(r *http.Request, schemes []string, allowsBlocked bool) (*http.Request, error) {
	if len(schemes) == 0 || callerOf(r.Context()).Team.ID != "" { // the process itself calls, see As
		return r, nil
	}
	if slices.Contains(schemes, "AdminToken") {
		err := s.auth.Admin(r.Header)
		callOf(r.Context()).operator = err == nil
		if err == nil || !slices.Contains(schemes, "ApiKey") {
			return r, err
		}
	}
	caller, err := s.auth.Team(r.Context(), r.Header)
	if err != nil {
		return r, err
	}
	callOf(r.Context()).team = caller.Team.ID
	callOf(r.Context()).operator = caller.Team.ID == s.operator
	if caller.Team.Blocked && !allowsBlocked {
		return r, blocked(caller.Team)
	}
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)), nil
}

// blocked words the refusal as api.md §2.4 does.
func blocked(team shoal.Team) error {
	if team.BlockedReason == "" {
		return shoal.ErrForbidden.New("team is blocked")
	}
	return shoal.ErrForbidden.New("team is blocked: %s", team.BlockedReason)
}
