package api

import (
	"context"

	"shoal/internal/api/gen"
)

// ForkSandbox is not available yet.
func (s *Server) ForkSandbox(ctx context.Context, req gen.ForkSandboxRequestObject) (gen.ForkSandboxResponseObject, error) {
	return nil, s.notYet(ctx, req.SandboxID, "Forking a sandbox")
}
