package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// ResumeSandbox refuses a running sandbox; paused ones do not exist yet.
func (s *Server) ResumeSandbox(ctx context.Context, req gen.ResumeSandboxRequestObject) (gen.ResumeSandboxResponseObject, error) {
	return nil, s.notYet(ctx, req.SandboxID, "Resuming a sandbox")
}

// resume brings a paused sandbox back for connect and resume.
func (s *Server) resume(context.Context, shoal.Sandbox, time.Duration, *bool) (shoal.Sandbox, error) {
	return shoal.Sandbox{}, shoal.ErrNotImplemented.New("Resuming a sandbox is not available in this version")
}
