package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

const (
	sampleSize  = 3 // how many machines are compared for one placement
	maxAttempts = 3 // how many starts may fail before a placement does
)

// Place starts a sandbox on the least loaded of a few random machines and returns when
// its daemon answers. Those being started count against the team's limits. The errors are
// those of api.md §3.1.
func (f *Fleet) Place(ctx context.Context, spec shoal.Spec, limits shoal.TeamLimits) (_ shoal.Sandbox, err error) {
	ctx, span := telemetry.Start(ctx, "fleet.place")
	defer func() { span.End(err) }()
	describe(span, spec.TeamID, spec.SandboxID, spec.TemplateID)
	r := f.reserve(ctx, limits, place{spec.TeamID, spec.SandboxID})[0]
	if err = r.err; err != nil {
		return shoal.Sandbox{}, err
	}
	p := &placement{spec: spec, tried: map[*member]bool{}}
	sb, on, err := f.start(ctx, p)
	if err != nil {
		f.giveBack(ctx, r, p.lost)
		return shoal.Sandbox{}, err
	}
	f.settle(ctx, r, sb, on)
	return sb, nil
}

// describe says which sandbox a span is about.
func describe(span telemetry.Span, team, sandbox, template string) {
	span.Set(telemetry.Team, team)
	span.Set(telemetry.Sandbox, sandbox)
	span.Set(telemetry.Template, template)
}

// placement is one search for a machine.
type placement struct {
	spec     shoal.Spec
	tried    map[*member]bool
	lost     bool    // a machine may have started it
	attempts int     // failed starts, not counting those refused for lack of capacity
	refused  []error // of machines without capacity
	failed   []error
	missing  []error // of machines without the build
	dry      []error // of machines that lack a volume of the sandbox
}

func (f *Fleet) start(ctx context.Context, p *placement) (shoal.Sandbox, *member, error) {
	spec := p.spec
	for p.attempts < maxAttempts {
		m := f.pick(ctx, p)
		if m == nil {
			break
		}
		m.begin(spec.Resources.CPUCount)
		sb, err := m.node.Create(ctx, spec)
		m.end(spec.Resources.CPUCount)
		if err == nil {
			return sb, m, nil
		}
		p.tried[m] = true
		if unanswered(ctx, err) {
			p.lost = true
			f.lose(m, spec.SandboxID)
		}
		if final := p.judge(ctx, m, err); final != nil {
			return shoal.Sandbox{}, nil, final
		}
	}
	return shoal.Sandbox{}, nil, p.verdict()
}

// judge records a failed start. It returns an error if trying another machine would not
// help.
func (p *placement) judge(ctx context.Context, m *member, err error) error {
	known := shoal.AsError(err)
	err = fmt.Errorf("machine %s: %w", m.view().Info.ID, err)
	if known.Kind == shoal.ErrNodeUnreachable {
		m.disconnect(err)
	}
	switch {
	case ctx.Err() != nil:
		p.attempts++
		return shoal.ErrPlacementTimeout.Wrap(err, "Failed to place sandbox: placement timed out after %d attempt(s), please retry", p.attempts)
	case known.Status >= 400 && known.Status < 500, known.Kind == shoal.ErrNotImplemented,
		known.Kind == shoal.ErrSnapshotMissing, known.Kind == shoal.ErrSnapshotDamaged:
		return known
	case known.Kind == shoal.ErrCapacity, known.Kind == shoal.ErrNetworkExhausted, known.Kind == shoal.ErrUnavailable:
		p.refused = append(p.refused, err)
	case known.Kind == shoal.ErrImageMissing:
		p.missing = append(p.missing, err)
	case known.Kind == shoal.ErrVolumeUnavailable:
		p.dry = append(p.dry, err)
	default:
		p.attempts++
		p.failed = append(p.failed, err)
	}
	return nil
}

// unanswered reports whether a failed call may have succeeded on the machine.
func unanswered(ctx context.Context, err error) bool {
	return ctx.Err() != nil || shoal.ErrNodeUnreachable.Matches(err)
}

// verdict returns the error of a placement that has no machine left to try.
func (p *placement) verdict() error {
	switch {
	case p.attempts > 0:
		return shoal.ErrCreateFailed.Wrap(errors.Join(p.failed...), "Failed to place sandbox: sandbox creation failed on %d node(s), please retry; if the problem persists, tell the operator", p.attempts)
	case len(p.refused) > 0:
		return shoal.ErrCapacity.Wrap(errors.Join(p.refused...), "Failed to place sandbox: not enough capacity for the requested resources right now, please retry shortly")
	case len(p.dry) > 0:
		return shoal.ErrVolumeUnavailable.Wrap(errors.Join(p.dry...), "Failed to place sandbox: its volumes could not be mounted on %d node(s)", len(p.dry))
	default:
		return shoal.ErrNoNode.Wrap(errors.Join(p.missing...), "Failed to place sandbox: no compatible node for this template's requirements")
	}
}

// pick chooses an untried machine, or nil. If no machine seems able at first, it syncs
// once, because the known state may be outdated.
func (f *Fleet) pick(ctx context.Context, p *placement) *member {
	if m := f.best(p); m != nil || len(p.tried) > 0 {
		return m
	}
	_ = f.Sync(ctx) // explain reports the machines that do not answer
	m := f.best(p)
	if m == nil {
		f.explain(p)
	}
	return m
}

// best returns the least loaded machine of a random sample of the able ones.
func (f *Fleet) best(p *placement) *member {
	var able []*member
	for _, m := range f.members {
		if ready, compatible := m.canStart(p.spec.BuildID); ready && compatible && !p.tried[m] {
			able = append(able, m)
		}
	}
	rand.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
	var best *member
	var least float64
	for _, m := range able[:min(len(able), sampleSize)] {
		if load := m.load(f.sandboxes.allocated(m), p.spec.Resources.CPUCount); best == nil || load < least {
			best, least = m, load
		}
	}
	return best
}

// explain records why each machine cannot be tried.
func (f *Fleet) explain(p *placement) {
	if len(f.members) == 0 {
		p.missing = append(p.missing, errors.New("no machine is configured"))
	}
	for _, m := range f.members {
		v := m.view()
		switch ready, compatible := m.canStart(p.spec.BuildID); {
		case !v.Connected:
			p.refused = append(p.refused, fmt.Errorf("machine %s does not answer", v.Info.ID))
		case !ready:
			p.refused = append(p.refused, fmt.Errorf("machine %s is %s", v.Info.ID, v.Info.Status))
		case !compatible:
			p.missing = append(p.missing, fmt.Errorf("machine %s does not have build %s, or not the runtime that it requires",
				v.Info.ID, p.spec.BuildID))
		}
	}
}
