package api

import (
	"context"

	"shoal/internal/shoal"
)

// allow refuses what is switched off for the caller's team. Operations whose whole route is a
// feature say so in the specification (x-shoal-switch); handlers ask for the parts of a body.
func (s *Server) allow(ctx context.Context, feature shoal.Switches) error {
	caller := callerOf(ctx)
	if feature == 0 || caller.Inside {
		return nil
	}
	return s.allowTeam(ctx, caller.Team.ID, feature)
}

func (s *Server) allowTeam(ctx context.Context, teamID string, feature shoal.Switches) error {
	off, err := s.auth.Off(ctx, teamID)
	if err == nil && off&feature == shoal.SwitchSecrets {
		return shoal.ErrSwitchedOff.New("Secrets are not available for this team") // api.md §3.19
	}
	if err == nil && off&feature != 0 {
		err = switchedOff(off & feature)
	}
	return err
}

// switchedOff is in E2B's words where it has some.
func switchedOff(feature shoal.Switches) error {
	if feature == shoal.SwitchVolumes {
		return shoal.ErrSwitchedOff.New("use of volumes is not enabled")
	}
	return shoal.ErrSwitchedOff.New("The feature is switched off: %s", feature)
}

// allowCreate refuses a sandbox that would have what is switched off.
func (s *Server) allowCreate(ctx context.Context, spec shoal.Spec) error {
	var asked shoal.Switches
	if spec.Lifecycle.AutoResume {
		asked |= shoal.SwitchAutoResume
	}
	if spec.Lifecycle.AutoPause {
		asked |= shoal.SwitchPauses
		if !spec.Lifecycle.AutoPauseNoMem {
			asked |= shoal.SwitchMemoryPause
		}
	}
	if spec.Network.TrafficAccessToken == "" {
		asked |= shoal.SwitchPublicTraffic
	}
	if err := s.allowProxy(ctx, spec.Network.EgressProxy, "network.egressProxy"); err != nil {
		return err
	}
	if err := s.allowNetwork(ctx, spec.Network, true, asked); err != nil {
		return err
	}
	return s.allowTransforms(ctx, spec, spec.Network.Transforms)
}

// allowNetwork refuses what lets a sandbox out, besides what else is asked for. A new sandbox may go
// out unless it says otherwise.
func (s *Server) allowNetwork(ctx context.Context, n shoal.Network, isNew bool, asked shoal.Switches) error {
	out := isNew
	if n.AllowInternet != nil {
		out = *n.AllowInternet
	}
	if out || len(n.AllowOut) > 0 {
		asked |= shoal.SwitchInternet
	}
	return s.allow(ctx, asked)
}
