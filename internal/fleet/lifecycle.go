package fleet

import (
	"context"
	"math"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Resume resumes a paused sandbox on its machine. It counts against the team's limit of
// those that run at once, as with Place.
func (f *Fleet) Resume(ctx context.Context, node shoal.Node, sb shoal.Sandbox,
	opts shoal.ResumeOptions, limits shoal.TeamLimits) (_ shoal.Sandbox, err error) {
	ctx, span := telemetry.Start(ctx, "fleet.resume")
	defer func() { span.End(err) }()
	describe(span, sb.TeamID, sb.SandboxID, sb.TemplateID)
	limits.Sandboxes = math.MaxInt // it is one already
	r := f.reserve(ctx, limits, place{sb.TeamID, sb.SandboxID})[0]
	if err = r.err; err != nil {
		return shoal.Sandbox{}, err
	}
	sb, err = node.Resume(ctx, sb.SandboxID, opts)
	if err != nil {
		f.giveBack(ctx, r, unanswered(ctx, err))
		return shoal.Sandbox{}, err
	}
	f.settleOn(ctx, r, node, sb)
	return sb, nil
}

// Pause pauses a sandbox. It no longer counts against the team's limit of those that run, but
// with what it takes on the disk.
func (f *Fleet) Pause(ctx context.Context, node shoal.Node, sb shoal.Sandbox, opts shoal.PauseOptions) (err error) {
	ctx, span := telemetry.Start(ctx, "fleet.pause")
	defer func() { span.End(err) }()
	describe(span, sb.TeamID, sb.SandboxID, sb.TemplateID)
	sb, err = node.Pause(ctx, sb.SandboxID, opts)
	if err != nil {
		return err
	}
	if m := f.memberOf(node); m != nil {
		f.sandboxes.note(sb, m)
	}
	f.free(ctx, sb.SandboxID, false)
	return nil
}

// Fork starts copies of a sandbox on its machine, one per specification, up to the team's
// limit. The results are in the order of the specifications.
func (f *Fleet) Fork(ctx context.Context, node shoal.Node, sandboxID string, specs []shoal.Spec,
	limits shoal.TeamLimits) ([]shoal.ForkResult, error) {
	results := make([]shoal.ForkResult, len(specs))
	places := make([]place, len(specs))
	for i, spec := range specs {
		places[i] = place{spec.TeamID, spec.SandboxID}
	}
	admitted := 0
	reserved := f.reserve(ctx, limits, places...)
	for i, r := range reserved {
		if r.err != nil {
			results[i].Err = r.err
			continue
		}
		spec := specs[i]
		specs[admitted] = spec
		admitted++
	}
	started, err := node.Fork(ctx, sandboxID, specs[:admitted])
	if err != nil {
		m, lost := f.memberOf(node), unanswered(ctx, err)
		for _, r := range reserved {
			if r.err != nil {
				continue
			}
			f.giveBack(ctx, r, lost)
			if m != nil && lost {
				f.lose(m, r.place.sandboxID)
			}
		}
		return nil, err
	}
	next := 0
	for i := range results {
		if results[i].Err != nil {
			continue
		}
		results[i] = started[next]
		next++
		if results[i].Err != nil {
			f.giveBack(ctx, reserved[i], false)
			continue
		}
		f.settleOn(ctx, reserved[i], node, results[i].Sandbox)
	}
	return results, nil
}

// settleOn is settle on a node that may be in the fleet.
func (f *Fleet) settleOn(ctx context.Context, r reservation, node shoal.Node, sb shoal.Sandbox) {
	if m := f.memberOf(node); m != nil {
		f.settle(ctx, r, sb, m)
		return
	}
	f.giveBack(ctx, r, false)
}

// memberOf returns the member for a node, or nil if the node is not in the fleet.
func (f *Fleet) memberOf(node shoal.Node) *member {
	for _, m := range f.members {
		if m.node == node {
			return m
		}
	}
	return nil
}
