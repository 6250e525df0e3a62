package shoal

import "regexp"

// DefaultTier is the tier that teams are in which are put into no other. It can be changed, and
// not removed.
const DefaultTier = "default"

// Tier is a named set of limits that teams have in common.
type Tier struct {
	Name   string
	Limits TeamLimits
	Teams  int // how many are in it
}

var tierName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// CheckTierName refuses what no tier can be named.
func CheckTierName(name string) error {
	if tierName.MatchString(name) {
		return nil
	}
	return ErrBadRequest.New("%.64q is no name of a tier: it has 1 to 63 lower-case letters, digits, - and _", name)
}

// LimitChange is what becomes of a team's limits.
type LimitChange struct {
	Tier   string     // the team's from now on; "" leaves it
	Set    LimitSet   // limits that become the team's own
	Values TeamLimits // what they are
	Reset  LimitSet   // limits that become those of the tier
}

// Of returns which limits of a team are its own after the change, and what they are.
func (c LimitChange) Of(own LimitSet, values TeamLimits) (LimitSet, TeamLimits) {
	return own&^c.Reset | c.Set, values.With(c.Values, c.Set)
}
