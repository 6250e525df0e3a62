package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/build"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// rootBuildBefore is the first SDK version whose builds do not run as root
// (templates.md §3.4).
var rootBuildBefore = []int{2, 3, 0}

// StartTemplateBuild hands a waiting build to the queue. Its status reads
// "building", or how it ended, before the answer is sent: SDKs ask at once.
func (s *Server) StartTemplateBuild(
	ctx context.Context, req gen.StartTemplateBuildRequestObject,
) (gen.StartTemplateBuildResponseObject, error) {
	b, err := s.waitingBuild(ctx, req.TemplateID, req.BuildID)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(deref(req.Body.FromImage)) != "" {
		if err := s.allow(ctx, shoal.SwitchRegistryImages); err != nil {
			return nil, err // it may be started from something else
		}
	}
	team := callerOf(ctx).Team
	if _, err := s.storage.check(ctx, team); err != nil {
		return nil, err // nothing is wrong with the build: it may be started later
	}
	job, refusal := planJob(*req.Body)
	if refusal == nil {
		job.Runtime, refusal = s.planRuntime(ctx, req.Body.Runtime)
	}
	if refusal != nil && refusal.Kind == shoal.ErrUnavailable {
		return nil, refusal // nothing is wrong with the build: it may be started later
	}
	job.TeamID, job.CacheScope, job.TemplateID, job.BuildID = team.ID, team.ID, b.TemplateID, b.ID
	job.Resources, job.RootBuild = b.Resources, clientOf(ctx).olderSDK(rootBuildBefore...)
	var failure *build.Failure
	if refusal != nil {
		// The client will not start this build again, and a waiting one would count
		// against the team's limit.
		failure = &build.Failure{Message: refusal.Message, Step: build.StepBase}
	} else if failure, err = s.resolveBase(ctx, team, &job); err != nil {
		return nil, err
	}
	if failure != nil {
		err = s.builds.Queue.Refuse(ctx, job, *failure)
	} else {
		err = s.builds.Queue.Start(ctx, job)
	}
	switch {
	case errors.Is(err, store.ErrNotFound): // another call was faster
		return nil, errNotWaiting()
	case err != nil:
		return nil, err
	case refusal != nil:
		return nil, refusal
	}
	return gen.StartTemplateBuild202Response{}, nil
}

// waitingBuild finds a build of the team's by the IDs of a path. Names are
// not accepted here (templates.md §1.8).
func (s *Server) waitingBuild(ctx context.Context, templateID, buildID string) (shoal.Build, error) {
	id, err := uuid.Parse(buildID)
	if err != nil {
		return shoal.Build{}, shoal.ErrBuildRequest.New("Invalid build ID: %s", buildID)
	}
	t, err := s.store.Template(ctx, templateID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return shoal.Build{}, shoal.ErrTemplateNotFound.New("Template '%s' not found", templateID)
	case err != nil:
		return shoal.Build{}, err
	case t.TeamID != callerOf(ctx).Team.ID:
		return shoal.Build{}, shoal.ErrTemplateForbidden.New("User does not have access to the template")
	}
	b, err := s.store.Build(ctx, t.ID, id.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return b, shoal.ErrBuildNotFound.New("Build '%s' not found", id)
	case err == nil && b.Status != shoal.BuildWaiting:
		return b, errNotWaiting()
	}
	return b, err
}

func errNotWaiting() error { return shoal.ErrBuildRequest.New("build is not in waiting state") }

// planJob turns a request into a job without its base. What is wrong with a
// single step is the build's failure, blamed on the step, and not the request's.
func planJob(body gen.TemplateBuildStart) (build.Job, *shoal.Error) {
	job := build.Job{
		FromImage:     strings.TrimSpace(deref(body.FromImage)),
		FromReference: strings.TrimSpace(deref(body.FromTemplate)),
		StartCmd:      deref(body.StartCmd),
		ReadyCmd:      deref(body.ReadyCmd),
		Force:         deref(body.Force),
	}
	const prefix = "Error when starting template build: "
	switch {
	case job.FromImage != "" && job.FromReference != "":
		return job, shoal.ErrBuildRequest.New(prefix + "cannot specify both fromImage and fromTemplate")
	case job.FromImage == "" && job.FromReference == "":
		return job, shoal.ErrBuildRequest.New(prefix + "must specify either fromImage or fromTemplate")
	}
	if n := len(deref(body.Steps)); n > maxSteps {
		return job, shoal.ErrBuildRequest.New(prefix+"at most %d steps are allowed, not %d", maxSteps, n)
	}
	for field, line := range map[string]string{"startCmd": job.StartCmd, "readyCmd": job.ReadyCmd} {
		if strings.Contains(line, "\x00") || len(line) > maxCommandLine {
			return job, shoal.ErrBuildRequest.New(prefix+"%s must have no NUL and at most %d bytes, or else no program starts",
				field, maxCommandLine)
		}
	}
	for _, step := range deref(body.Steps) {
		job.Steps = append(job.Steps, build.Step{Type: strings.ToUpper(step.Type), Args: deref(step.Args),
			FilesHash: deref(step.FilesHash), Force: deref(step.Force)})
	}
	if r := body.FromImageRegistry; r != nil && job.FromImage != "" {
		var refusal *shoal.Error
		if job.Registry, refusal = planRegistry(*r); refusal != nil {
			return job, refusal
		}
	}
	return job, nil
}

func planRegistry(r gen.ImageRegistry) (*build.Registry, *shoal.Error) {
	login := &build.Registry{
		Type:               string(r.Type),
		Username:           deref(r.Username),
		Password:           deref(r.Password),
		AWSAccessKeyID:     deref(r.AwsAccessKeyId),
		AWSSecretAccessKey: deref(r.AwsSecretAccessKey),
		AWSRegion:          deref(r.AwsRegion),
		ServiceAccountJSON: deref(r.ServiceAccountJson),
	}
	var complete bool
	var fields string
	switch r.Type {
	case gen.Registry:
		complete, fields = login.Username != "" && login.Password != "", "username and password"
	case gen.Aws:
		complete = login.AWSAccessKeyID != "" && login.AWSSecretAccessKey != "" && login.AWSRegion != ""
		fields = "awsAccessKeyId, awsSecretAccessKey and awsRegion"
	case gen.Gcp:
		complete, fields = login.ServiceAccountJSON != "", "serviceAccountJson"
	}
	if !complete {
		return nil, shoal.ErrBuildRequest.New("fromImageRegistry of type '%s' needs %s", r.Type, fields)
	}
	return login, nil
}

// planRuntime checks a wish for a runtime against what the machines have; nil is no wish.
func (s *Server) planRuntime(ctx context.Context, asked *gen.RuntimeWish) (shoal.RuntimeWish, *shoal.Error) {
	if asked == nil {
		return shoal.RuntimeWish{}, nil
	}
	wish := shoal.RuntimeWish{Name: asked.Name, Required: deref(asked.Required)}
	if slices.Contains(s.fleet.Runtimes(), wish.Name) {
		return wish, nil
	}
	syncErr := s.fleet.Sync(ctx) // the known state may be outdated
	known := s.fleet.Runtimes()
	switch {
	case slices.Contains(known, wish.Name):
		return wish, nil
	case len(known) == 0:
		return wish, shoal.ErrUnavailable.Wrap(syncErr, "no machine answers, so its runtimes are not known")
	}
	return wish, shoal.ErrBuildRequest.New("Error when starting template build: no machine has the runtime '%s', but %s",
		wish.Name, strings.Join(known, ", "))
}

// resolveBase looks the job's base template up. That there is none, or that the
// team may not use it, is the build's failure.
func (s *Server) resolveBase(ctx context.Context, team shoal.Team, job *build.Job) (*build.Failure, error) {
	if job.FromReference == "" {
		return nil, nil
	}
	ref, err := reference.Parse(job.FromReference)
	if err != nil {
		return &build.Failure{Message: "invalid template reference: " + err.Error(), Step: build.StepBase}, nil
	}
	var b shoal.Build
	t, err := s.resolve(ctx, team, ref)
	if err == nil {
		if !t.Public && t.TeamID != team.ID {
			return &build.Failure{Message: "you don't have access to template '" + ref.String() + "'",
				Step: build.StepBase}, nil
		}
		b, err = s.readyBuild(ctx, t, ref)
	}
	if shoal.ErrTemplateNotFound.Matches(err) {
		return &build.Failure{Message: shoal.AsError(err).Message, Step: build.StepBase}, nil
	}
	if err != nil {
		return nil, err
	}
	job.FromTemplate = &b
	if job.Runtime == (shoal.RuntimeWish{}) {
		job.Runtime = b.Runtime
	}
	return nil, nil
}
