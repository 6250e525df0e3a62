package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// locate finds a sandbox of the caller's team. Another team's is as unknown as
// one that never was.
func (s *Server) locate(ctx context.Context, sandboxID string) (shoal.Node, shoal.Sandbox, error) {
	node, sb, err := s.fleet.Locate(ctx, sandboxID)
	if err != nil {
		return nil, shoal.Sandbox{}, err
	}
	if sb.TeamID != callerOf(ctx).Team.ID || sb.State == shoal.StateCreating {
		return nil, shoal.Sandbox{}, shoal.NotFound(sandboxID)
	}
	return node, sb, nil
}

// find is locate for the ID in a path, which may have the legacy form.
func (s *Server) find(ctx context.Context, pathID string) (shoal.Node, shoal.Sandbox, error) {
	id, err := shoal.ParseSandboxID(pathID)
	if err != nil {
		return nil, shoal.Sandbox{}, err
	}
	return s.locate(ctx, id)
}

// GetSandbox describes a sandbox. One that is being killed is gone already.
func (s *Server) GetSandbox(
	ctx context.Context, req gen.GetSandboxRequestObject,
) (gen.GetSandboxResponseObject, error) {
	_, sb, err := s.find(ctx, req.SandboxID)
	if err != nil {
		return nil, err
	}
	if sb.State == shoal.StateKilling {
		return nil, shoal.NotFound(sb.SandboxID)
	}
	detail := s.wireDetail(sb)
	if callerOf(ctx).Permit(shoal.WriteSandboxes) != nil {
		detail.EnvdAccessToken = nil // by which they could do everything inside
	}
	return gen.GetSandbox200JSONResponse(detail), nil
}

// KillSandbox ends a sandbox and returns when nothing of it is left.
func (s *Server) KillSandbox(
	ctx context.Context, req gen.KillSandboxRequestObject,
) (gen.KillSandboxResponseObject, error) {
	node, sb, err := s.find(ctx, req.SandboxID)
	if err != nil {
		return nil, err
	}
	err = node.Kill(ctx, sb.SandboxID, shoal.KillRequest)
	dying := sb.State == shoal.StateKilling && shoal.ErrSandboxNotFound.Matches(err)
	if err != nil && !dying {
		return nil, err
	}
	s.fleet.Forget(ctx, sb.SandboxID)
	return gen.KillSandbox204Response{}, nil
}
