package auth

import (
	"shoal/internal/shoal"
)

// Caller is who sent a request, and for which team.
type Caller struct {
	// Team is the team that the caller acts for; its ID is "" for a user or an operator alone.
	Team shoal.Team
	// User is the person or service account that calls; the ID is "" with an API key of a team and
	// for an operator.
	User shoal.User
	// Actor is what the audit log says of the caller.
	Actor shoal.Actor
	// Key is the plaintext of the API key that was presented, or "".
	Key string
	// Operator means that the admin token was presented.
	Operator bool
	// Inside means that this process itself calls.
	Inside bool

	rights shoal.Rights
	role   shoal.Role // what the user is in the team
}

// Permit returns an error unless the caller has the right.
func (c Caller) Permit(right shoal.Rights) error {
	switch {
	case c.rights.Has(right):
		return nil
	case c.Key != "" && (c.role == "" || c.role.Rights().Has(right)):
		return shoal.ErrScope.New("The API key does not have the scope %s", right)
	case c.role != "":
		return shoal.ErrRole.New("The role %s in the team does not have the right %s", c.role, right)
	}
	return shoal.ErrRole.New("The caller does not have the right %s", right)
}

// Insider is the caller when this process itself acts for a team.
func Insider(team shoal.Team) Caller {
	return Caller{Team: team, Actor: shoal.Actor{Kind: shoal.ActorShoal}, Inside: true, rights: shoal.KeyRights}
}
