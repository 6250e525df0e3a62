package orchestrator

import (
	"context"
	"crypto/subtle"
	"iter"
	"net/netip"
	"net/url"
	"time"

	"shoal/internal/auth"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// Router resolves traffic for the sandboxes of this machine.
type Router struct{ orch *Orchestrator }

var _ proxy.Resolver = (*Router)(nil)

// Router returns the resolver of this machine's proxy.
func (o *Orchestrator) Router() *Router { return &Router{orch: o} }

// A request waits this long for a sandbox that is changing its state, and for at
// most so many changes (runtime.md §1.8).
const (
	changeTime  = time.Minute
	changeLimit = 3
)

// Resolve finds a sandbox that runs. One that is paused is woken, if it wants to
// be and the request could use it; all requests that arrive meanwhile wait.
func (r *Router) Resolve(ctx context.Context, req proxy.Request) (proxy.Target, error) {
	sb, err := r.orch.table.find(req.SandboxID)
	if err != nil {
		return proxy.Target{}, err
	}
	teamID := sb.viewNow().TeamID
	if err := req.Admit(teamID); err != nil {
		return proxy.Target{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	for changes := 0; ; changes++ {
		target, change, err := sb.target()
		switch {
		case err != nil:
			return proxy.Target{}, err
		case target.ExecutionID != "":
			target.NoSignedURLs = r.orch.switches.offFor(shoal.SwitchSignedURLs, teamID)
			return target, nil
		case changes == changeLimit:
			return proxy.Target{}, stillChanging(nil)
		case change != nil:
			_ = change.wait(ctx) // how it ends shows in the state
		case req.Passive:
			return proxy.Target{}, shoal.NotRunning(sb.id)
		default:
			err = r.wakeFor(ctx, sb, req)
		}
		if ctx.Err() != nil {
			return proxy.Target{}, stillChanging(ctx.Err())
		}
		if err != nil && !shoal.ErrSandboxRunning.Matches(err) {
			return proxy.Target{}, err
		}
	}
}

func stillChanging(cause error) error {
	return shoal.ErrSandboxState.Wrap(cause, "sandbox is still transitioning")
}

// target is where the sandbox's traffic goes, or the change to wait for. Neither
// means that it is paused.
func (s *sandbox) target() (proxy.Target, *transition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.view.State {
	case shoal.StateRunning, shoal.StateSnapshotting:
		if s.recoversLocked() {
			return proxy.Target{}, s.current, nil
		}
		if err := s.unreachableLocked(); err != nil {
			return proxy.Target{}, nil, err
		}
		if s.guest == nil {
			return proxy.Target{}, nil, shoal.NotFound(s.id)
		}
		return proxy.Target{
			ExecutionID:        s.view.ExecutionID,
			Host:               s.guest.Address(),
			TrafficAccessToken: s.view.Network.TrafficAccessToken,
			MaskRequestHost:    s.view.Network.MaskRequestHost,
			HTTPSPorts:         s.view.Network.HTTPSPorts,
		}, nil, nil
	case shoal.StatePausing, shoal.StateResuming, shoal.StatePaused:
		return proxy.Target{}, s.current, nil
	default:
		return proxy.Target{}, nil, shoal.NotFound(s.id)
	}
}

// wakeFor resumes a paused sandbox for a request from outside. One that may not be woken
// stays as it is. Another request may have woken it meanwhile.
func (r *Router) wakeFor(ctx context.Context, sb *sandbox, req proxy.Request) error {
	sb.mu.Lock()
	view, memory := sb.view, sb.saved != nil && sb.saved.Memory && !sb.saved.Silent
	sb.mu.Unlock()
	if view.State != shoal.StatePaused {
		return nil
	}
	if !view.Lifecycle.AutoResume || !memory {
		return shoal.NotRunning(sb.id)
	}
	want, got := view.Network.TrafficAccessToken, req.TrafficToken
	if req.Port == shoal.EnvdPort {
		want, got = view.EnvdAccessToken, req.EnvdToken
	}
	if want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(got)) != 1 {
		return shoal.ErrForbidden.New(
			"The sandbox is paused, and the request does not have the token that it takes to resume it")
	}
	return r.orch.wakers.wake(ctx, sb, shoal.Wake{SandboxID: sb.id, TeamID: view.TeamID,
		TeamLimit: view.TeamLimit, Timeout: max(view.Lifecycle.AutoResumeAfter, minWake)}, r.wakeAlone)
}

// wakeAlone resumes a sandbox without an api: by what this machine knows, so that traffic
// wakes sandboxes also while the api is away.
func (r *Router) wakeAlone(ctx context.Context, w shoal.Wake) error {
	if w.TeamLimit > 0 && r.orch.table.runningOf(w.TeamID) >= w.TeamLimit {
		return shoal.ErrConcurrencyLimit.New("you have reached the maximum number of concurrent E2B sandboxes (%d). %s",
			w.TeamLimit, shoal.ErrConcurrencyLimit.Fix)
	}
	_, err := r.orch.Resume(ctx, w.SandboxID, shoal.ResumeOptions{Timeout: w.Timeout})
	return err
}

// minWake is the shortest time that a sandbox woken by traffic gets (api.md §4.5).
const minWake = 300 * time.Second

// ResolveSigned finds the sandbox whose token made a file URL's signature.
func (r *Router) ResolveSigned(
	_ context.Context, _ netip.Addr, method string, query url.Values,
) (string, error) {
	return auth.FileOwner(r.orch.table.tokens(), method, query)
}

// tokens are the daemons' tokens of the sandboxes that clients may see, by ID.
func (t *table) tokens() iter.Seq2[string, string] {
	return func(yield func(id, token string) bool) {
		for _, sb := range t.all() {
			sb.mu.Lock()
			token, listed := sb.view.EnvdAccessToken, isListed(sb.view)
			sb.mu.Unlock()
			if listed && !yield(sb.id, token) {
				return
			}
		}
	}
}
