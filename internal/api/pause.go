package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// canPause says whether machines can pause sandboxes; create refuses autoPause
// without it, because killing in its place would lose the guest's work.
const canPause = false

// PauseSandbox is not available yet.
func (s *Server) PauseSandbox(ctx context.Context, req gen.PauseSandboxRequestObject) (gen.PauseSandboxResponseObject, error) {
	return nil, s.notYet(ctx, req.SandboxID, "Pausing a sandbox")
}

// notYet answers 404 for an unknown sandbox and 501 for the others.
func (s *Server) notYet(ctx context.Context, pathID, what string) error {
	_, sb, err := s.find(ctx, pathID)
	if err != nil {
		return err
	}
	if sb.State == shoal.StateKilling {
		return shoal.NotFound(sb.SandboxID)
	}
	return shoal.ErrNotImplemented.New("%s is not available in this version", what)
}
