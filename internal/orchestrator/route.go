package orchestrator

import (
	"context"
	"net/url"

	"shoal/internal/auth"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// Router resolves traffic for the sandboxes of this machine.
type Router struct{ orch *Orchestrator }

var _ proxy.Resolver = (*Router)(nil)

// Router returns the resolver of this machine's proxy.
func (o *Orchestrator) Router() *Router { return &Router{orch: o} }

// Resolve finds a running sandbox.
func (r *Router) Resolve(ctx context.Context, req proxy.Request) (proxy.Target, error) {
	sb, err := r.orch.find(req.SandboxID)
	if err != nil {
		return proxy.Target{}, err
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.slot == nil || sb.view.State != shoal.StateRunning {
		return proxy.Target{}, shoal.NotFound(req.SandboxID)
	}
	return proxy.Target{
		ExecutionID:        sb.view.ExecutionID,
		Host:               sb.slot.HostIP(),
		TrafficAccessToken: sb.view.Network.TrafficAccessToken,
		MaskRequestHost:    sb.view.Network.MaskRequestHost,
		HTTPSPorts:         sb.view.Network.HTTPSPorts,
	}, nil
}

// ResolveSigned finds the sandbox whose token made a file URL's signature.
func (r *Router) ResolveSigned(ctx context.Context, method string, query url.Values) (string, error) {
	list, err := r.orch.List(ctx)
	if err != nil {
		return "", err
	}
	return auth.FileOwner(list, method, query)
}
