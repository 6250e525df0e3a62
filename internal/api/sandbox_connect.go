package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

const (
	connectTimeout = 300 * time.Second // of v2, when the request names none
	resumeTimeout  = 15 * time.Second  // of the deprecated resume
	connectRounds  = 3                 // changes of state that a connect waits for
	// resumeWait is how long a sandbox that comes back is waited for. Clients give up after
	// 60 s, and then know nothing.
	resumeWait = 50 * time.Second
)

// ConnectSandbox extends a running sandbox, or resumes a paused one. The schema
// makes timeout mandatory.
func (s *Server) ConnectSandbox(
	ctx context.Context, req gen.ConnectSandboxRequestObject,
) (gen.ConnectSandboxResponseObject, error) {
	sb, resumed, err := s.connect(ctx, req.SandboxID, &req.Body.Timeout, req.Body.Memory)
	if err != nil {
		return nil, err
	}
	if resumed {
		return gen.ConnectSandbox201JSONResponse(s.wireSandbox(sb)), nil
	}
	return gen.ConnectSandbox200JSONResponse(s.wireSandbox(sb)), nil
}

// ConnectSandboxV2 is ConnectSandbox with an optional body and timeout.
func (s *Server) ConnectSandboxV2(
	ctx context.Context, req gen.ConnectSandboxV2RequestObject,
) (gen.ConnectSandboxV2ResponseObject, error) {
	body := deref(req.Body)
	sb, resumed, err := s.connect(ctx, req.SandboxID, body.Timeout, body.Memory)
	if err != nil {
		return nil, err
	}
	if resumed {
		return gen.ConnectSandboxV2201JSONResponse(s.wireSandbox(sb)), nil
	}
	return gen.ConnectSandboxV2200JSONResponse(s.wireSandbox(sb)), nil
}

// connect never shortens a sandbox's time. memory says how a paused one comes
// back; to a running one it means nothing.
//
// It answers 200 for a sandbox that runs and 201 for one that it has resumed; 400 for a
// request that is malformed or asks for too long a time, 401 and 403 for the key, its team
// and a web page's origin, 404 for an unknown sandbox, 409 for one that is being killed or
// started in another way, or whose daemon was silent when it was paused, 413 for a body that
// is too large, 429 at the team's limit or rate, 500 if the guest does not come back, 503 if the
// sandbox's machine is full or does not answer, and 504 if it takes too long.
func (s *Server) connect(
	ctx context.Context, pathID string, seconds *int32, memory *bool,
) (sb shoal.Sandbox, resumed bool, err error) {
	id, err := shoal.ParseSandboxID(pathID)
	if err != nil {
		return shoal.Sandbox{}, false, err
	}
	team := callerOf(ctx).Team
	timeout := min(connectTimeout, team.Limits.MaxLength)
	if seconds != nil {
		if timeout, err = boundedTimeout(*seconds, team); err != nil {
			return shoal.Sandbox{}, false, err
		}
	}
	for range connectRounds {
		var node shoal.Node
		if node, sb, err = s.locate(ctx, id); err != nil {
			return sb, false, err
		}
		if sb.State == shoal.StateKilling {
			return sb, false, shoal.ErrSandboxState.New("Sandbox %q is being killed", id)
		}
		if sb.State.Public() == shoal.StatePaused {
			sb, err = s.resume(ctx, node, sb, timeout, memory)
			if !shoal.ErrSandboxRunning.Matches(err) {
				return sb, true, err
			}
			continue // another request has resumed it
		}
		sb, err = node.SetDeadline(ctx, id,
			shoal.DeadlineChange{Timeout: timeout, ExtendOnly: true, Wait: true})
		if !movedOn(err) {
			return sb, false, err
		}
	}
	return sb, false, err
}

// movedOn reports whether a sandbox was paused or killed before a request reached it.
func movedOn(err error) bool {
	return shoal.ErrSandboxNotRunning.Matches(err) || shoal.ErrSandboxNotFound.Matches(err) ||
		shoal.ErrSandboxState.Matches(err)
}

// ResumeSandbox is the deprecated connect that refuses a running sandbox.
func (s *Server) ResumeSandbox(
	ctx context.Context, req gen.ResumeSandboxRequestObject,
) (gen.ResumeSandboxResponseObject, error) {
	body := deref(req.Body)
	timeout, err := createTimeout(body.Timeout, resumeTimeout, callerOf(ctx).Team)
	if err != nil {
		return nil, err
	}
	node, sb, err := s.find(ctx, req.SandboxID)
	if err != nil {
		return nil, err
	}
	switch sb.State {
	case shoal.StateKilling:
		return nil, shoal.NotFound(sb.SandboxID)
	case shoal.StateSnapshotting:
		return nil, shoal.ErrSandboxState.New("Sandbox snapshot is currently being created for sandbox '%s'",
			sb.SandboxID)
	case shoal.StateRunning:
		return nil, shoal.ErrSandboxRunning.New("Sandbox %s is already running", sb.SandboxID)
	}
	sb, err = s.resume(ctx, node, sb, timeout, body.Memory)
	if err != nil {
		return nil, err
	}
	return gen.ResumeSandbox201JSONResponse(s.wireSandbox(sb)), nil
}

// resume brings a paused sandbox back within the team's limit and rate.
func (s *Server) resume(
	ctx context.Context, node shoal.Node, sb shoal.Sandbox, timeout time.Duration, memory *bool,
) (shoal.Sandbox, error) {
	if err := s.admitCreates(ctx, 1); err != nil {
		return shoal.Sandbox{}, err
	}
	opts := shoal.ResumeOptions{Timeout: timeout, ColdBoot: memory != nil && !*memory}
	wait, cancel := context.WithTimeout(ctx, s.resumeWait)
	defer cancel()
	back, err := s.fleet.Resume(wait, node, sb, opts, callerOf(ctx).Team.Limits)
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		err = shoal.ErrResumeTimeout.Wrap(err, "Sandbox %q did not come back within %s", sb.SandboxID, s.resumeWait)
	}
	return back, err
}
