package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

const (
	connectTimeout = 300 * time.Second // of v2, when the request names none
	minRefresh     = 15 * time.Second
)

// ConnectSandbox extends a running sandbox. The schema makes timeout mandatory.
func (s *Server) ConnectSandbox(ctx context.Context, req gen.ConnectSandboxRequestObject) (gen.ConnectSandboxResponseObject, error) {
	sb, err := s.connect(ctx, req.SandboxID, &req.Body.Timeout, req.Body.Memory)
	if err != nil {
		return nil, err
	}
	return gen.ConnectSandbox200JSONResponse(s.wireSandbox(sb)), nil
}

// ConnectSandboxV2 extends a running sandbox; body and timeout are optional.
func (s *Server) ConnectSandboxV2(ctx context.Context, req gen.ConnectSandboxV2RequestObject) (gen.ConnectSandboxV2ResponseObject, error) {
	body := deref(req.Body)
	sb, err := s.connect(ctx, req.SandboxID, body.Timeout, body.Memory)
	if err != nil {
		return nil, err
	}
	return gen.ConnectSandboxV2200JSONResponse(s.wireSandbox(sb)), nil
}

// connect never shortens a sandbox's time. memory says how a paused one comes
// back; to a running one it means nothing.
func (s *Server) connect(ctx context.Context, pathID string, seconds *int32, memory *bool) (shoal.Sandbox, error) {
	id, err := shoal.ParseSandboxID(pathID)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	team := callerOf(ctx).Team
	timeout := min(connectTimeout, team.Limits.MaxLength)
	if seconds != nil {
		if timeout, err = boundedTimeout(*seconds, team); err != nil {
			return shoal.Sandbox{}, err
		}
	}
	node, sb, err := s.locate(ctx, id)
	if err != nil {
		return sb, err
	}
	if sb.State.Public() == shoal.StatePaused {
		return s.resume(ctx, sb, timeout, memory)
	}
	return node.SetDeadline(ctx, id, shoal.DeadlineChange{Timeout: timeout, ExtendOnly: true})
}

// SetSandboxTimeout moves the end, earlier or later, within the team's maximum.
func (s *Server) SetSandboxTimeout(ctx context.Context, req gen.SetSandboxTimeoutRequestObject) (gen.SetSandboxTimeoutResponseObject, error) {
	change := shoal.DeadlineChange{Timeout: time.Duration(req.Body.Timeout) * time.Second}
	if err := s.setDeadline(ctx, req.SandboxID, change); err != nil {
		return nil, err
	}
	return gen.SetSandboxTimeout204Response{}, nil
}

// RefreshSandbox moves the end later.
func (s *Server) RefreshSandbox(ctx context.Context, req gen.RefreshSandboxRequestObject) (gen.RefreshSandboxResponseObject, error) {
	seconds := deref(deref(req.Body).Duration)
	change := shoal.DeadlineChange{Timeout: max(time.Duration(seconds)*time.Second, minRefresh), ExtendOnly: true}
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
		return shoal.NotFound(sb.SandboxID)
	}
	_, err = node.SetDeadline(ctx, sb.SandboxID, change)
	return err
}
