package orchestrator

import (
	"context"

	"shoal/internal/network"
	"shoal/internal/shoal"
)

// SetNetwork replaces a running sandbox's egress policy; what concerns traffic
// into it stays. The kernel's rules change in one step.
func (o *Orchestrator) SetNetwork(ctx context.Context, sandboxID string, policy shoal.Network) error {
	sb, err := o.find(sandboxID)
	if err != nil {
		return err
	}
	// One change at a time: the kernel's rules and the record say the same.
	sb.policing.Lock()
	defer sb.policing.Unlock()
	merged := sb.snapshotView().Network
	merged.AllowOut, merged.DenyOut = policy.AllowOut, policy.DenyOut
	if policy.AllowInternet != nil {
		merged.AllowInternet = policy.AllowInternet
	}
	egress, err := network.ParsePolicy(merged)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	slot, err := sb.slot, shoal.Changeable(sb.id, sb.view.State)
	sb.mu.Unlock()
	if err != nil {
		return err
	}
	if err := slot.SetEgress(egress); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.view.Network = merged
	sb.mu.Unlock()
	return o.saveView(sb)
}
