package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// PauseSandbox keeps a sandbox and returns when it can be resumed. Only memory:
// false gives up its processes.
func (s *Server) PauseSandbox(ctx context.Context, req gen.PauseSandboxRequestObject) (gen.PauseSandboxResponseObject, error) {
	node, sb, err := s.find(ctx, req.SandboxID)
	if err != nil {
		return nil, err
	}
	if sb.State == shoal.StateKilling {
		return nil, shoal.ErrSandboxState.New("Sandbox '%s' cannot be paused while in 'killing' state", sb.SandboxID)
	}
	memory := true
	if req.Body != nil && req.Body.Memory != nil {
		memory = *req.Body.Memory
	}
	if err := s.fleet.Pause(ctx, node, sb, memory); err != nil {
		return nil, err
	}
	return gen.PauseSandbox204Response{}, nil
}
