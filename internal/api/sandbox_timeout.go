package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

const minRefresh = 15 * time.Second

// SetSandboxTimeout moves the end, earlier or later, within the team's maximum.
func (s *Server) SetSandboxTimeout(
	ctx context.Context, req gen.SetSandboxTimeoutRequestObject,
) (gen.SetSandboxTimeoutResponseObject, error) {
	change := shoal.DeadlineChange{Timeout: time.Duration(req.Body.Timeout) * time.Second}
	if err := s.setDeadline(ctx, req.SandboxID, change); err != nil {
		return nil, err
	}
	return gen.SetSandboxTimeout204Response{}, nil
}

// RefreshSandbox moves the end later.
func (s *Server) RefreshSandbox(
	ctx context.Context, req gen.RefreshSandboxRequestObject,
) (gen.RefreshSandboxResponseObject, error) {
	seconds := deref(deref(req.Body).Duration)
	change := shoal.DeadlineChange{Timeout: max(time.Duration(seconds)*time.Second, minRefresh),
		ExtendOnly: true}
	if err := s.setDeadline(ctx, req.SandboxID, change); err != nil {
		return nil, err
	}
	return gen.RefreshSandbox204Response{}, nil
}

func (s *Server) setDeadline(ctx context.Context, pathID string, change shoal.DeadlineChange) error {
	node, sb, err := s.find(ctx, pathID)
	if err != nil {
		return err
	}
	if sb.State == shoal.StatePaused { // old SDKs take this for "resume it" (clients.md §4.1)
		return shoal.NotRunning(sb.SandboxID)
	}
	_, err = node.SetDeadline(ctx, sb.SandboxID, change)
	return err
}
