package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// family is what v1 and v2 of create do differently (clients.md §3.4).
type family struct {
	timeout time.Duration // when the request names none
	secure  func(asked *bool) bool
}

var (
	familyV1 = family{timeout: 15 * time.Second,
		secure: func(asked *bool) bool { return asked != nil && *asked }}
	familyV2 = family{timeout: 300 * time.Second, secure: func(*bool) bool { return true }}
)

// CreateSandbox starts a sandbox with the defaults of v1.
func (s *Server) CreateSandbox(
	ctx context.Context, req gen.CreateSandboxRequestObject,
) (gen.CreateSandboxResponseObject, error) {
	sb, err := s.create(ctx, *req.Body, familyV1, unrecorded)
	if err != nil {
		return nil, err
	}
	aimed(ctx, "sandbox", sb.SandboxID)
	return gen.CreateSandbox201JSONResponse(s.wireSandbox(sb)), nil
}

// CreateSandboxV2 starts a sandbox with the defaults of v2, or answers with the one that was
// started under the same idempotency key.
func (s *Server) CreateSandboxV2(
	ctx context.Context, req gen.CreateSandboxV2RequestObject,
) (gen.CreateSandboxV2ResponseObject, error) {
	var sb shoal.Sandbox
	var err error
	if key := req.Params.IdempotencyKey; key != nil {
		sb, err = s.createOnce(ctx, *key, *req.Body)
	} else {
		sb, err = s.create(ctx, *req.Body, familyV2, unrecorded)
	}
	if err != nil {
		return nil, err
	}
	aimed(ctx, "sandbox", sb.SandboxID)
	return gen.CreateSandboxV2201JSONResponse(s.wireSandbox(sb)), nil
}

// create calls record with the ID of the sandbox before it starts, and again with another
// one if it starts over.
func (s *Server) create(
	ctx context.Context, body gen.NewSandbox, f family, record func(sandboxID string) error,
) (shoal.Sandbox, error) {
	team := callerOf(ctx).Team
	for tries := 0; ; tries++ {
		spec, err := s.plan(ctx, team, body, f)
		if err == nil && spec.Lifecycle.AutoPause {
			_, err = s.storage.check(ctx, team)
		}
		if err == nil && tries == 0 {
			err = s.allowCreate(ctx, spec)
		}
		if err == nil && tries == 0 {
			err = s.admitCreates(ctx, 1)
		}
		if err != nil {
			return shoal.Sandbox{}, err
		}
		if err := record(spec.SandboxID); err != nil {
			return shoal.Sandbox{}, err
		}
		sb, err := s.fleet.Place(ctx, spec, team.Limits)
		if err == nil {
			s.spawns.note(sb.TemplateID, sb.StartedAt)
			return sb, nil
		}
		if tries == maxReplaced || ctx.Err() != nil || !s.replaced(ctx, team, body.TemplateID, spec.BuildID) {
			return sb, err
		}
	}
}

// unrecorded is for creates without an idempotency key.
func unrecorded(string) error { return nil }

// maxReplaced bounds how often a create starts over because its snapshot was replaced
// in the meantime.
const maxReplaced = 5

// replaced reports whether a reference leads to another build by now.
func (s *Server) replaced(ctx context.Context, team shoal.Team, reference, buildID string) bool {
	_, now, err := s.resolveBuild(ctx, team, reference)
	return err == nil && now.ID != buildID
}

// plan turns a request into a specification, or says what is wrong with it
// before anything is started.
func (s *Server) plan(
	ctx context.Context, team shoal.Team, body gen.NewSandbox, f family,
) (shoal.Spec, error) {
	timeout, err := createTimeout(body.Timeout, f.timeout, team)
	if err != nil {
		return shoal.Spec{}, err
	}
	if err := checkMetadata(deref(body.Metadata)); err != nil {
		return shoal.Spec{}, err
	}
	if err := checkVariables(deref(body.EnvVars)); err != nil {
		return shoal.Spec{}, err
	}
	lifecycle, err := parseLifecycle(body, timeout)
	if err != nil {
		return shoal.Spec{}, err
	}
	template, build, err := s.resolveBuild(ctx, team, body.TemplateID)
	if err != nil {
		return shoal.Spec{}, err
	}
	secure := f.secure(body.Secure)
	if secure {
		if err := checkSecurable(build.EnvdVersion); err != nil {
			return shoal.Spec{}, err
		}
	}
	id := shoal.NewSandboxID()
	network, err := s.parseNetwork(id, body, secure)
	if err != nil {
		return shoal.Spec{}, err
	}
	tokens, err := s.parseTokens(ctx, body.Iam)
	if err != nil {
		return shoal.Spec{}, err
	}
	mounts, err := s.parseMounts(ctx, body, build.EnvdVersion)
	if err != nil {
		return shoal.Spec{}, err
	}
	spec := shoal.Spec{
		SandboxID:      id,
		TeamID:         team.ID,
		TemplateID:     template.ID,
		BuildID:        build.ID,
		EnvdVersion:    build.EnvdVersion,
		Resources:      build.Resources,
		Metadata:       deref(body.Metadata),
		EnvVars:        deref(body.EnvVars),
		Timeout:        timeout,
		MaxLength:      team.Limits.MaxLength,
		Lifecycle:      lifecycle,
		Network:        network,
		WorkloadTokens: tokens,
		VolumeMounts:   mounts,
		DefaultUser:    build.DefaultUser,
		DefaultWorkdir: build.DefaultWorkdir,
		TeamLimit:      team.Limits.ConcurrentSandboxes,
	}
	if len(template.Aliases) > 0 {
		spec.Alias = template.Aliases[0].Name
	}
	if secure {
		spec.EnvdAccessToken = s.tokens.Envd(id)
	}
	return spec, nil
}

func createTimeout(seconds *int32, absent time.Duration, team shoal.Team) (time.Duration, error) {
	if seconds == nil {
		return min(absent, team.Limits.MaxLength), nil
	}
	if *seconds <= 0 {
		return 0, shoal.ErrBadRequest.New("Timeout must be greater than 0")
	}
	return boundedTimeout(*seconds, team)
}

// boundedTimeout refuses what exceeds the team's longest execution.
func boundedTimeout(seconds int32, team shoal.Team) (time.Duration, error) {
	timeout := time.Duration(seconds) * time.Second
	if timeout > team.Limits.MaxLength {
		return 0, shoal.ErrBadRequest.New("Timeout cannot be greater than %d hours",
			team.Limits.MaxLength/time.Hour)
	}
	return timeout, nil
}

func parseLifecycle(body gen.NewSandbox, timeout time.Duration) (shoal.Lifecycle, error) {
	autoPause := body.AutoPause != nil && *body.AutoPause
	diskOnly := body.AutoPauseMemory != nil && !*body.AutoPauseMemory
	autoResume := body.AutoResume != nil && body.AutoResume.Enabled != nil && *body.AutoResume.Enabled
	switch {
	case diskOnly && !autoPause:
		return shoal.Lifecycle{}, shoal.ErrBadRequest.New("autoPauseMemory=false only applies when autoPause is true.")
	case diskOnly && autoResume:
		return shoal.Lifecycle{}, shoal.ErrBadRequest.New("autoPauseMemory=false (filesystem-only auto-pause) cannot be combined with autoResume: a filesystem-only snapshot cannot be auto-resumed by traffic and must be resumed explicitly.")
	}
	return shoal.Lifecycle{AutoPause: autoPause, AutoPauseNoMem: diskOnly, AutoResume: autoResume,
		AutoResumeAfter: timeout}, nil
}

// checkSecurable refuses templates whose daemon predates access tokens.
func checkSecurable(envdVersion string) error {
	const advice = "Build it again on this installation, or create the sandbox with secure set to false."
	if envdVersion == "" {
		return shoal.ErrBadRequest.New("You need to re-build template to allow using secured access. %s",
			advice)
	}
	if !atLeast(envdVersion, 0, 2, 0) {
		return shoal.ErrBadRequest.New("Template is not compatible with secured access. %s", advice)
	}
	return nil
}

// deref returns what an optional field holds, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
