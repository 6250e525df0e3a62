package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// A cold start is what creates and resumes do without a warm or a resting guest: it boots a
// guest, or restores one if its source has a checkpoint.

// start takes a sandbox to a guest that answers, in a new slot and under a new execution
// ID: in a kernel that was started ahead, or else in a new one.
func (g *guests) start(ctx context.Context, sb *sandbox, from guest.Source, l lease) error {
	if shell := g.takeShell(sb, from); shell != nil {
		err := g.startIn(ctx, sb, from, l, shell)
		if err == nil || shoal.ErrSnapshotDamaged.Matches(err) {
			return err
		}
		g.log.Warn("a kernel started ahead was of no use", "sandbox", sb.id, "error", err)
		if err := g.stop(ctx, sb); err != nil {
			return err
		}
	}
	err := g.startIn(ctx, sb, from, l, nil)
	ended := errors.Is(err, guest.ErrEnded) || errors.Is(err, runtime.ErrGone)
	if !ended || from.Checkpoint != "" {
		return err
	}
	// Neither a kernel nor envd ends by itself, so this is a fault of the moment, like a
	// machine that was short of memory. It is logged with the kernel's last words.
	g.log.Warn("a guest ended while it booted; another is tried", "sandbox", sb.id, "error", err)
	if err := g.stop(ctx, sb); err != nil {
		return err
	}
	return g.startIn(ctx, sb, from, l, nil)
}

// takeShell returns a kernel that was started ahead and fits, or nil.
func (g *guests) takeShell(sb *sandbox, from guest.Source) *guest.Guest {
	key, ok := shellFor(g.host.Runtimes(), from, sb.viewNow().Resources)
	if !ok {
		return nil
	}
	shell, _ := g.keeper.shells.Take(key, time.Now(), func(*guest.Guest) bool { return true })
	return shell
}

// startIn is start in a kernel that was started ahead, or, without one, in a new one.
func (g *guests) startIn(
	ctx context.Context, sb *sandbox, from guest.Source, l lease, shell *guest.Guest,
) error {
	own, prepared, egress := shell, shell != nil, sb.egressNow()
	var err error
	if prepared {
		err = g.enter(sb, own)
	} else {
		own, err = g.reserve(ctx, sb, from)
	}
	if err != nil {
		return err
	}
	if prepared && !egress.Equal(g.keeper.openEgress) {
		// A kernel started ahead has an open slot, and its guest may begin at once.
		if err := own.SetEgress(ctx, egress); err != nil {
			return err
		}
	}
	// In a new slot the rules are set while the guest's kernel starts: until then it
	// lets nothing out. The snapshot is read meanwhile, too.
	restricted, verified := make(chan error, 1), make(chan error, 1)
	go func() {
		if prepared {
			restricted <- nil
			return
		}
		restricted <- own.SetEgress(ctx, egress)
	}()
	go func() { verified <- verify(ctx, from) }()
	err = g.run(ctx, sb, own, from)
	// A damaged snapshot explains whatever else went wrong, so it comes first.
	if err = errors.Join(<-verified, err, <-restricted); err != nil {
		return err
	}
	return g.initialize(ctx, sb, l)
}

// run starts a guest that is the sandbox's, and has it watched.
func (g *guests) run(ctx context.Context, sb *sandbox, own *guest.Guest, from guest.Source) error {
	if err := own.Start(ctx, from); err != nil {
		return err
	}
	g.watch(sb, own)
	return nil
}

// verify reads whether a checkpoint's files are what was stored.
func verify(ctx context.Context, from guest.Source) error {
	if from.Verify == nil {
		return nil
	}
	defer telemetry.Begin(ctx, "verify")()
	return from.Verify()
}
