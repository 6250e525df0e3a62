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
	view := sb.snapshotView()
	merged := view.Network
	merged.AllowOut, merged.DenyOut = policy.AllowOut, policy.DenyOut
	if policy.AllowInternet != nil {
		merged.AllowInternet = policy.AllowInternet
	}
	egress, err := network.ParsePolicy(merged)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	slot, state := sb.slot, sb.view.State
	sb.mu.Unlock()
	if state != shoal.StateRunning || slot == nil {
		return shoal.ErrSandboxState.New("Sandbox %q is not running", sandboxID)
	}
	if err := slot.SetEgress(egress); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.view.Network = merged
	sb.mu.Unlock()
	return o.saveView(sb)
}
