package orchestrator

import (
	"context"
	"net/netip"

	"shoal/internal/shoal"
)

// Get returns one sandbox, also while it is being killed: callers tell that from one
// that never was.
func (o *Orchestrator) Get(ctx context.Context, sandboxID string) (shoal.Sandbox, error) {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	view := sb.viewNow()
	if view.State == shoal.StateCreating {
		return shoal.Sandbox{}, shoal.NotFound(sandboxID)
	}
	return view, nil
}

// List returns the sandboxes that clients may see, in no order.
func (o *Orchestrator) List(ctx context.Context) ([]shoal.Sandbox, error) {
	var list []shoal.Sandbox
	for _, sb := range o.table.all() {
		if view := sb.viewNow(); isListed(view) {
			list = append(list, view)
		}
	}
	return list, nil
}

// isListed hides a sandbox before it was created and once its end has begun.
func isListed(view shoal.Sandbox) bool {
	return view.State != shoal.StateCreating && view.State != shoal.StateKilling
}

// SandboxAt finds the sandbox that has a slot address, for requests from inside.
func (o *Orchestrator) SandboxAt(host netip.Addr) (sandboxID string, ok bool) {
	return o.table.at(host)
}
