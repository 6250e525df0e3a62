package api

import (
	"context"
	"net/http"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

type callerKey struct{}

// callerOf returns who sent the request. It is set for every operation that not everybody may
// call.
func callerOf(ctx context.Context) auth.Caller {
	caller, _ := ctx.Value(callerKey{}).(auth.Caller)
	return caller
}

// authorize checks the credentials that an operation asks for, the standing of the caller's team
// and the caller's right, in this order, and puts the caller into the request.
func (s *Server) authorize(r *http.Request, need access) (*http.Request, error) {
	call := callOf(r.Context())
	if len(need.ways) == 0 {
		return r, nil
	}
	if inside := callerOf(r.Context()); inside.Team.ID != "" { // the process itself calls, see As
		call.actor, call.team = inside.Actor, inside.Team.ID
		return r, nil
	}
	call.refused = true
	caller, err := s.auth.Authenticate(r.Context(), need.request(r))
	call.team, call.user, call.actor = caller.Team.ID, caller.User.ID, caller.Actor
	if err != nil {
		return r, err
	}
	call.operator = caller.Operator || caller.Team.ID != "" && caller.Team.ID == s.operator
	if caller.Team.Blocked && !need.allowsBlocked {
		return r, blocked(caller.Team)
	}
	if err := caller.Permit(need.right); err != nil {
		return r, err
	}
	call.refused = false
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)), nil
}

// blocked words the refusal as api.md §2.4 does.
func blocked(team shoal.Team) error {
	if team.BlockedReason == "" {
		return shoal.ErrForbidden.New("team is blocked")
	}
	return shoal.ErrForbidden.New("team is blocked: %s", team.BlockedReason)
}
