package orchestrator

import (
	"context"
	"maps"
	"time"

	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Create starts a new sandbox. It returns when the guest's daemon has been
// initialised; when it fails nothing of the sandbox is left.
func (o *Orchestrator) Create(ctx context.Context, spec shoal.Spec) (shoal.Sandbox, error) {
	return o.createFrom(ctx, spec, o.bootNew)
}

// createFrom is Create by a given way to a guest that answers.
func (o *Orchestrator) createFrom(ctx context.Context, spec shoal.Spec, boot func(context.Context, *sandbox) error) (shoal.Sandbox, error) {
	ctx, phases := telemetry.WithPhases(ctx)
	o.starting.Add(1)
	defer o.starting.Add(-1)
	log := o.log.With("sandbox", spec.SandboxID, "request", shoal.RequestID(ctx), "template", spec.TemplateID)

	sb, err := o.reserve(spec)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	t, _, err := sb.begin(ctx, shoal.StateCreating, func(shoal.State) error { return nil })
	if err != nil {
		return shoal.Sandbox{}, err
	}
	err = boot(ctx, sb)
	if err == nil {
		err = o.settle(sb, shoal.StateRunning)
	}
	if err != nil {
		o.createFail.Add(1)
		cleanup := o.dismantle(context.WithoutCancel(ctx), sb)
		sb.end(t, shoal.StateKilling, err)
		log.Error("create failed", "error", err, "cleanup", cleanup, "phases_ms", phases)
		return shoal.Sandbox{}, err
	}
	sb.end(t, shoal.StateRunning, nil)
	o.createOK.Add(1)
	o.nudge()
	o.note(sb, shoal.LogInfo, "Sandbox created", map[string]any{"template": spec.TemplateID})
	log.Info("sandbox created", "total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
	return sb.snapshotView(), nil
}

// reserve enters the sandbox into the table, within the machine's bound.
func (o *Orchestrator) reserve(spec shoal.Spec) (*sandbox, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.draining:
		return nil, shoal.ErrUnavailable.New("The machine is shutting down")
	case o.sandboxes[spec.SandboxID] != nil:
		return nil, shoal.ErrSandboxState.New("Sandbox %q exists already", spec.SandboxID)
	}
	if err := o.roomLocked(); err != nil {
		return nil, err
	}
	sb := &sandbox{id: spec.SandboxID, createdAt: time.Now().UTC(), view: shoal.Sandbox{Spec: spec, State: shoal.StateCreating, NodeID: o.cfg.NodeID}}
	o.sandboxes[spec.SandboxID] = sb
	return sb, nil
}

// roomLocked refuses one more guest than the machine may run. Paused sandboxes
// have none, or one that gives way.
func (o *Orchestrator) roomLocked() error {
	if alive := o.aliveLocked(); alive >= o.cfg.MaxSandboxes {
		return shoal.ErrCapacity.New("the machine runs %d sandboxes, its maximum", alive)
	}
	return nil
}

func (o *Orchestrator) aliveLocked() int {
	n := 0
	for _, sb := range o.sandboxes {
		if sb.snapshotView().State != shoal.StatePaused {
			n++
		}
	}
	return n
}

// bootNew takes a sandbox from its specification to a guest that answers: one that
// was started ahead, or a new one.
func (o *Orchestrator) bootNew(ctx context.Context, sb *sandbox) error {
	spec := sb.snapshotView().Spec
	egress, err := network.ParsePolicy(spec.Network)
	if err != nil {
		return err
	}
	if w := o.warm.take(spec.BuildID, spec.Resources, time.Now()); w != nil {
		err := o.claim(ctx, sb, w, egress, o.firstLease(spec, w.restored))
		if err == nil {
			return nil
		}
		o.log.Warn("a guest started ahead was of no use", "sandbox", sb.id, "error", err)
		if err := o.stopGuest(ctx, sb); err != nil {
			return err
		}
	}
	from, err := o.originOf(spec.BuildID)
	if err != nil {
		return err
	}
	return o.bootTemplate(ctx, sb, from, o.firstLease(spec, from.checkpoint != ""))
}

// firstLease is a new sandbox's. Its environment is what the client gave; without
// that, a guest with the memory of a snapshot keeps its own.
func (o *Orchestrator) firstLease(spec shoal.Spec, restored bool) lease {
	if restored && len(spec.EnvVars) == 0 {
		return lease{timeout: spec.Timeout}
	}
	env := map[string]string{}
	maps.Copy(env, o.cfg.GuestEnv)
	maps.Copy(env, spec.EnvVars)
	return lease{timeout: spec.Timeout, env: env}
}

// originOf finds what sandboxes of a build start from.
func (o *Orchestrator) originOf(buildID string) (origin, error) {
	o.mu.Lock()
	build, ok := o.builds[buildID]
	o.mu.Unlock()
	if !ok {
		return origin{}, shoal.ErrImageMissing.New("build %s is not on machine %s", buildID, o.cfg.NodeID)
	}
	if build.Snapshot {
		return o.openSnapshot(buildID)
	}
	root, err := o.rootOf(build)
	if err != nil {
		return origin{}, shoal.ErrImageMissing.Wrap(err, "a root image of build %s is missing", buildID)
	}
	cold := origin{root: root}
	if _, c, err := o.readCapture(buildArtifact(buildID)); err != nil || !c.Memory {
		return cold, nil
	}
	warm, err := o.openCapture(buildArtifact(buildID))
	if err != nil {
		return origin{}, err
	}
	warm.cold, warm.start = &cold, build.Start
	return warm, nil
}

// rootOf finds the images of a build.
func (o *Orchestrator) rootOf(b shoal.Build) (runtime.Root, error) {
	var paths []string
	for _, digest := range b.Images() {
		path, err := o.images.Path(digest)
		if err != nil {
			return "", err
		}
		paths = append(paths, path)
	}
	return runtime.NewRoot(paths...), nil
}
