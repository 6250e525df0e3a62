package orchestrator

import (
	"context"
	"errors"

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
) (shoal.Sandbox, error) {
	ctx, phases := telemetry.WithPhases(ctx)
	defer o.load.begin()()
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
	err = start(ctx, sb)
	if err == nil {
		err = o.records.settle(sb, shoal.StateRunning)
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
	o.nudge()
	o.journal.note(sb, shoal.LogInfo, "Sandbox created", map[string]any{"template": spec.TemplateID})
	log.Info("sandbox created", "total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
	return sb.viewNow(), nil
}
