package orchestrator

import (
	"context"

	"shoal/internal/network"
	"shoal/internal/shoal"
)

// SetNetwork replaces a running sandbox's egress policy; what concerns traffic
// into it stays. The packet filter's rules change in one step.
func (o *Orchestrator) SetNetwork(ctx context.Context, sandboxID string, policy shoal.Network) error {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return err
	}
	// One change at a time: the packet filter's rules and the record say the same.
	sb.policing.Lock()
	defer sb.policing.Unlock()
	merged := sb.viewNow().Network
	merged.AllowOut, merged.DenyOut, merged.DNSServers = policy.AllowOut, policy.DenyOut, policy.DNSServers
	if policy.AllowInternet != nil {
		merged.AllowInternet = policy.AllowInternet
	}
	egress, err := network.ParsePolicy(merged)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	own, err := sb.guest, shoal.Changeable(sb.id, sb.view.State)
	if err == nil {
		err = sb.unreachableLocked()
	}
	sb.mu.Unlock()
	if err != nil {
		return err
	}
	if err := own.SetEgress(ctx, egress); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.view.Network, sb.egress = merged, egress
	sb.mu.Unlock()
	return o.records.save(sb)
}
