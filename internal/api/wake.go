package api

import (
	"context"
	"math"
	"time"

	"shoal/internal/shoal"
)

// wakeLimit bounds a wake-up. The request that it is for waits no longer.
const wakeLimit = time.Minute

// wake resumes a paused sandbox that traffic has come for, within what its team may run now on
// all machines. While the database does not answer, the limit from the sandbox's creation counts.
func (s *Server) wake(ctx context.Context, node shoal.Node, w shoal.Wake) error {
	ctx, cancel := context.WithTimeout(ctx, wakeLimit)
	defer cancel()
	limits := shoal.TeamLimits{ConcurrentSandboxes: w.TeamLimit}
	if w.TeamLimit == 0 { // made by an older version
		limits.ConcurrentSandboxes = math.MaxInt
	}
	team, err := s.store.Team(ctx, w.TeamID)
	switch {
	case err != nil:
		s.log.Error("the limits of a team cannot be read; those of the sandbox's creation are taken",
			"sandbox", w.SandboxID, "team", w.TeamID, "error", err)
	case team.Blocked || team.Banned:
		return blocked(team)
	default:
		if err := s.allowTeam(ctx, w.TeamID, shoal.SwitchAutoResume); err != nil {
			return err
		}
		limits = team.Limits
	}
	sb := shoal.Sandbox{Spec: shoal.Spec{SandboxID: w.SandboxID, TeamID: w.TeamID}}
	_, err = s.fleet.Resume(ctx, node, sb, shoal.ResumeOptions{Timeout: w.Timeout}, limits)
	return err
}
