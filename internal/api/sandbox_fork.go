package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

const (
	forkTimeout = 300 * time.Second // SDKs since 2.51 name none and expect create's
	maxForks    = 100
)

// ForkSandbox starts copies of a running sandbox, which goes on. Each copy has an
// identity of its own and succeeds or fails by itself.
func (s *Server) ForkSandbox(
	ctx context.Context, req gen.ForkSandboxRequestObject,
) (gen.ForkSandboxResponseObject, error) {
	body, team := deref(req.Body), callerOf(ctx).Team
	timeout, err := createTimeout(body.Timeout, forkTimeout, team)
	if err != nil {
		return nil, err
	}
	count := 1
	if body.Count != nil {
		count = int(*body.Count)
	}
	switch limit := team.Limits.ConcurrentSandboxes; {
	case count < 1:
		return nil, shoal.ErrBadRequest.New("Count must be at least 1")
	case count > maxForks:
		return nil, shoal.ErrBadRequest.New("Count cannot be greater than %d", maxForks)
	case count >= limit:
		return nil, shoal.ErrBadRequest.New("Count must be lower than the maximum number of concurrent sandboxes (%d)", limit)
	}
	node, sb, err := s.find(ctx, req.SandboxID)
	if err != nil {
		return nil, err
	}
	switch sb.State {
	case shoal.StateRunning:
	case shoal.StatePaused:
		return nil, shoal.ErrSandboxPaused.New("Sandbox '%s' is paused and cannot be forked; resume it first",
			sb.SandboxID)
	default:
		return nil, shoal.ErrSandboxState.New("Sandbox '%s' cannot be forked while in '%s' state",
			sb.SandboxID, sb.State)
	}
	if _, err := s.storage.check(ctx, team); err != nil {
		return nil, err // copies start from what is written of the sandbox
	}
	if err := s.admitCreates(ctx, count); err != nil {
		return nil, err
	}
	specs := make([]shoal.Spec, count)
	for i := range specs {
		specs[i] = s.copyOf(sb, timeout, team)
	}
	results, err := s.fleet.Fork(ctx, node, sb.SandboxID, specs, team.Limits)
	if err != nil {
		return nil, err
	}
	return gen.ForkSandbox201JSONResponse(s.wireForks(ctx, results)), nil
}

// copyOf is the specification of a fork: its source's, under a new identity.
func (s *Server) copyOf(sb shoal.Sandbox, timeout time.Duration, team shoal.Team) shoal.Spec {
	spec := sb.Spec
	spec.SandboxID, spec.Timeout = shoal.NewSandboxID(), timeout
	spec.MaxLength, spec.TeamLimit = team.Limits.MaxLength, team.Limits.ConcurrentSandboxes
	if spec.EnvdAccessToken != "" {
		spec.EnvdAccessToken = s.tokens.Envd(spec.SandboxID)
	}
	if spec.Network.TrafficAccessToken != "" {
		spec.Network.TrafficAccessToken = s.tokens.Traffic(spec.SandboxID)
	}
	return spec
}

type forkEntry = struct {
	Error   *gen.Error   `json:"error,omitempty"`
	Sandbox *gen.Sandbox `json:"sandbox,omitempty"`
}

func (s *Server) wireForks(ctx context.Context, results []shoal.ForkResult) []forkEntry {
	rows := make([]forkEntry, len(results))
	for i, r := range results {
		if r.Err != nil {
			known := shoal.AsError(r.Err)
			s.log.Warn("a copy of a sandbox failed", "request", shoal.RequestID(ctx), "error", r.Err)
			rows[i].Error = &gen.Error{Code: int32(known.Status), Message: advised(known), ErrorCode: known.Code}
			continue
		}
		wire := s.wireSandbox(r.Sandbox)
		rows[i].Sandbox = &wire
		s.spawns.note(r.Sandbox.TemplateID, r.Sandbox.StartedAt)
	}
	return rows
}
