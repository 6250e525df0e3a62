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

// authorize checks the credentials that an operation asks for, how much the caller asks, the
// standing of the caller's team, the caller's right and the operation's switch, in this order
// (api.md §1.3), and puts the caller into the request.
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
	caller, err := s.authenticate(r, need)
	call.team, call.user, call.actor = caller.Team.ID, caller.User.ID, caller.Actor
	if err != nil {
		return r, err
	}
	call.operator = caller.Operator || caller.Team.ID != "" && caller.Team.ID == s.operator
	if err := s.admitRequest(r.Context(), caller); err != nil {
		return r, err
	}
	if caller.Team.Blocked && !need.allowsBlocked {
		return r, blocked(caller.Team)
	}
	if err := caller.Permit(need.right); err != nil {
		return r, err
	}
	call.refused = false
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
	return r, s.allow(r.Context(), need.feature)
}

// blocked words the refusal as api.md §2.4 does.
func blocked(team shoal.Team) error {
	if team.BlockedReason == "" {
		return shoal.ErrForbidden.New("team is blocked")
	}
	return shoal.ErrForbidden.New("team is blocked: %s", team.BlockedReason)
}
