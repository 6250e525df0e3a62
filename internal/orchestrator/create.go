package orchestrator

import (
	"context"
	"errors"
	"maps"
	"time"

	"shoal/internal/envdapi/client"
	"shoal/internal/guest"
	"shoal/internal/network"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Create starts a new sandbox. It returns when the guest's daemon has been
// initialized; when it fails nothing of the sandbox is left.
func (o *Orchestrator) Create(ctx context.Context, spec shoal.Spec) (shoal.Sandbox, error) {
	return o.createBy(ctx, spec, o.guests.startNew)
}

// createBy is Create by a given way to a guest that answers.
func (o *Orchestrator) createBy(
	ctx context.Context, spec shoal.Spec, start func(context.Context, *sandbox) error,
) (made shoal.Sandbox, err error) {
	ctx, phases := telemetry.WithPhases(ctx)
	defer o.load.begin()()
	ctx, end := o.meters.measure(ctx, opCreate, spec.SandboxID)
	defer func() { end(err) }()
	log := o.log.With("sandbox", spec.SandboxID, "request", shoal.RequestID(ctx), "template", spec.TemplateID)

	egress, err := network.ParsePolicy(spec.Network)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	sb, err := o.table.reserve(spec, egress)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	t, _, err := sb.begin(ctx, shoal.StateCreating, func(shoal.State) error { return nil })
	if err != nil {
		return shoal.Sandbox{}, err
	}
	if err = o.guests.haveVolumes(spec); err == nil {
		err = sb.ensureAuthority(spec.Network.Transforms)
	}
	if err == nil {
		err = start(ctx, sb)
	}
	if err == nil {
		err = o.records.saveEvent(sb, to(shoal.StateRunning, shoal.EventCreated))
	}
	if err != nil {
		o.load.failed.Add(1)
		cleanup := o.dismantle(context.WithoutCancel(ctx), sb)
		sb.end(t, shoal.StateKilling, err)
		log.Error("create failed", "error", errors.Join(err, cleanup), "phases_ms", phases)
		return shoal.Sandbox{}, err
	}
	sb.end(t, shoal.StateRunning, nil)
	o.load.created.Add(1)
	o.tally.created(spec.TeamID)
	o.nudge()
	o.journal.note(sb, shoal.LogInfo, "Sandbox created", map[string]any{"template": spec.TemplateID})
	log.Info("sandbox created", "total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
	return sb.viewNow(), nil
}

// startNew takes a new sandbox to a guest that answers: one that was started ahead
// (claim.go), or one that is booted or restored now (cold_start.go).
func (g *guests) startNew(ctx context.Context, sb *sandbox) error {
	spec := sb.viewNow().Spec
	fits := func(w *warmGuest) bool {
		return w.build.Resources == spec.Resources && (len(spec.VolumeMounts) == 0 || w.HasVolumes())
	}
	if w, ok := g.keeper.warm.Take(spec.BuildID, time.Now(), fits); ok {
		err := g.claim(ctx, sb, w, g.firstLease(spec, w.restored))
		if err == nil || shoal.ErrVolumeUnavailable.Matches(err) {
			return err // another guest would not have it either
		}
		g.log.Warn("a guest started ahead was of no use", "sandbox", sb.id, "error", err)
		if err := g.stop(ctx, sb); err != nil {
			return err
		}
	}
	from, done, err := g.builds.source(spec.BuildID)
	if err != nil {
		return err
	}
	defer done()
	if len(spec.VolumeMounts) > 0 {
		if from, err = g.host.WithVolumes(from); err != nil {
			return shoal.ErrVolumeRuntime.Wrap(err, "Sandboxes of this template cannot have volumes")
		}
	}
	return g.startFrom(ctx, sb, from, g.firstLease(spec, from.Checkpoint != ""))
}

// firstLease is a new sandbox's. Its environment is what the client gave; without
// that, a guest with the memory of a snapshot keeps its own.
func (g *guests) firstLease(spec shoal.Spec, restored bool) lease {
	if restored && len(spec.EnvVars) == 0 {
		return lease{timeout: spec.Timeout}
	}
	env := map[string]string{}
	maps.Copy(env, g.cfg.GuestEnv)
	maps.Copy(env, spec.EnvVars)
	return lease{timeout: spec.Timeout, env: env}
}

// startFrom takes a sandbox of a template or snapshot to a guest that answers. If the
// memory cannot be restored, the guest boots, and what runs in the template is started
// again.
func (g *guests) startFrom(ctx context.Context, sb *sandbox, from guest.Source, l lease) error {
	err := g.start(ctx, sb, from, l)
	if err == nil && from.Checkpoint == "" {
		return g.startAgain(ctx, sb, from.Start)
	}
	if err == nil || from.Cold == nil || shoal.ErrNetworkExhausted.Matches(err) ||
		shoal.ErrVolumeUnavailable.Matches(err) {
		return err
	}
	g.log.Warn("a template's memory could not be restored; the sandbox boots from its disk",
		"sandbox", sb.id, "error", err)
	if err := g.stop(ctx, sb); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.view.ColdBoot = true
	sb.mu.Unlock()
	if l.env == nil {
		l.env = g.cfg.GuestEnv
	}
	if coldErr := g.start(ctx, sb, *from.Cold, l); coldErr != nil {
		return errors.Join(err, coldErr)
	}
	return g.startAgain(ctx, sb, from.Start)
}

// startAgain runs a template's start command, if it has one, and waits until it is ready. The
// command does not see the sandbox's own environment.
func (g *guests) startAgain(ctx context.Context, sb *sandbox, start shoal.StartBlock) error {
	if start.Command == "" && start.Ready == "" {
		return nil
	}
	defer telemetry.Begin(ctx, "start_command")()
	return sb.guest.Client(sb.viewNow().EnvdAccessToken).Startup(ctx, start, client.Silent)
}
