package orchestrator

import (
	"context"
	"crypto/subtle"
	"net/http"
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

// ResolveSigned finds whose token made the signature of a file URL. A URL on a
// shared address names no sandbox, but only one token can have signed it.
func (r *Router) ResolveSigned(ctx context.Context, method string, query url.Values) (string, error) {
	operation := "read"
	if method == http.MethodPost {
		operation = "write"
	}
	got := []byte(query.Get("signature"))
	for _, sb := range r.orch.all() {
		view := sb.snapshotView()
		if view.EnvdAccessToken == "" || !isListed(view) {
			continue
		}
		want := auth.FileSignature(query.Get("path"), operation, query.Get("username"), view.EnvdAccessToken, query.Get("signature_expiration"))
		if subtle.ConstantTimeCompare(got, []byte(want)) == 1 {
			return sb.id, nil
		}
	}
	return "", shoal.ErrSandboxNotFound.New("no sandbox's token made this signature")
}
