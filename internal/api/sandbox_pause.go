package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// PauseSandbox keeps a sandbox and returns when it can be resumed. Only memory:
// false gives up its processes.
func (s *Server) PauseSandbox(
	ctx context.Context, req gen.PauseSandboxRequestObject,
) (gen.PauseSandboxResponseObject, error) {
	node, sb, err := s.find(ctx, req.SandboxID)
	if err != nil {
		return nil, err
	}
	if sb.State == shoal.StateKilling {
		return nil, shoal.ErrSandboxState.New("Sandbox '%s' cannot be paused while in 'killing' state",
			sb.SandboxID)
	}
	body := deref(req.Body)
	keeps := body.Memory == nil || *body.Memory
	if sb.State.Public() == shoal.StateRunning {
		if keeps {
			if err := s.allow(ctx, shoal.SwitchMemoryPause); err != nil {
				return nil, err
			}
		}
		done, err := s.storage.begin(ctx, callerOf(ctx).Team, largestSave(sb))
		if err != nil {
			return nil, err
		}
		defer done()
	}
	err = s.fleet.Pause(ctx, node, sb, shoal.PauseOptions{Memory: keeps,
		RequireDaemon: deref(body.RequireHealthyGuest)})
	late := shoal.ErrSandboxPaused.Matches(err) || shoal.ErrSandboxState.Matches(err)
	if late && s.pausedSince(ctx, sb.SandboxID) {
		err = nil // it would have joined that pause, had it been slower
	}
	if err != nil {
		return nil, err
	}
	return gen.PauseSandbox204Response{}, nil
}

// pausedSince reports whether a sandbox was paused after the request had come. Of two
// pauses at once, one may be over before the other reaches the machine.
func (s *Server) pausedSince(ctx context.Context, sandboxID string) bool {
	_, now, err := s.locate(ctx, sandboxID)
	return err == nil && now.State == shoal.StatePaused && now.EndAt.After(callOf(ctx).start)
}
