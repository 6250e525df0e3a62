package orchestrator

import (
	"context"
	"errors"

	"shoal/internal/guest"
	"shoal/internal/network"
	"shoal/internal/shoal"
)

// SetNetwork replaces a running sandbox's egress policy; what concerns traffic
// into it stays. Nothing is reached meanwhile that neither policy allows, and after an error the
// former one holds.
func (o *Orchestrator) SetNetwork(ctx context.Context, sandboxID string, policy shoal.Network) error {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return err
	}
	return sb.setPolicy(ctx, policy, func(own *guest.Guest, egress network.Egress) error {
		if len(policy.Transforms) > 0 { // the guest trusts the authority before it meets it
			if err := sb.introduce(ctx, own); err != nil {
				return err
			}
		}
		return own.SetEgress(ctx, egress)
	}, func(s *sandbox) error { return o.records.saveEvent(s, newNetwork) })
}

// setPolicy is a transition, so that the guest's slot stays the sandbox's, and no guest starts
// under the policy from before, until the new one is applied and saved.
func (s *sandbox) setPolicy(
	ctx context.Context, policy shoal.Network,
	apply func(*guest.Guest, network.Egress) error, save func(*sandbox) error,
) (err error) {
	t, err := s.beginAlone(ctx, shoal.StateRunning, func(state shoal.State) error {
		return shoal.Changeable(s.id, state)
	})
	if err != nil {
		return err
	}
	defer func() { s.end(t, shoal.StateRunning, err) }()
	s.mu.Lock()
	own, merged, team := s.guest, s.view.Network, s.view.TeamID
	s.mu.Unlock()
	before := s.egressNow()
	merged.AllowOut, merged.DenyOut, merged.DNSServers = policy.AllowOut, policy.DenyOut, policy.DNSServers
	merged.EgressProxy, merged.Transforms = policy.EgressProxy, policy.Transforms
	if policy.AllowInternet != nil {
		merged.AllowInternet = policy.AllowInternet
	}
	egress, err := network.ParsePolicy(merged)
	if err != nil {
		return err
	}
	if err := s.ensureAuthority(merged.Transforms); err != nil {
		return err
	}
	if err := apply(own, egress.Of(s.id, team, s.authorityNow())); err != nil {
		// Part of it may hold. What cannot be taken back is in the next guest's rules no more.
		return errors.Join(err, apply(own, before))
	}
	s.mu.Lock()
	s.view.Network, s.egress = merged, egress
	s.mu.Unlock()
	return save(s)
}
