package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Templates are built in guests that belong to no sandbox, and to no record: what
// is left of them after a crash is removed at the next start.

// Workbench is a guest in which a template is built. Close ends it.
type Workbench struct {
	o *Orchestrator
	w *warmGuest
}

// OpenWorkbench boots a guest from the images of a build, which need not be known
// here. Its disk is empty over them.
func (o *Orchestrator) OpenWorkbench(ctx context.Context, build shoal.Build) (*Workbench, error) {
	o.starting.Add(1) // nothing is started ahead meanwhile
	defer o.starting.Add(-1)
	root, err := o.rootOf(build)
	if err != nil {
		return nil, shoal.ErrImageMissing.Wrap(err, "a root image of build %s is missing", build.ID)
	}
	slot, err := o.slots.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	b := &Workbench{o: o, w: &warmGuest{id: "build-" + shoal.NewExecutionID()[:18], build: build, root: root, kernel: o.runtime.Kernel(), slot: slot, envd: client.New(slot.HostIP().String(), "")}}
	if err := b.boot(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Workbench) boot(ctx context.Context) error {
	spec := b.o.specOf(b.w.id, b.w.root, b.w.kernel, b.w.build.Resources, b.w.slot)
	spec.Env = append(spec.Env, envdapi.Facts{TemplateID: b.w.build.TemplateID, TokenHash: envdapi.TokenHash("")}.Environ()...)
	spec.Background = true // somebody waits for an answer of each sandbox
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return fmt.Errorf("make the guest's directory: %w", err)
	}
	if err := b.w.slot.SetEgress(b.o.openEgress); err != nil {
		return err
	}
	var err error
	if b.w.guest, err = b.o.runtime.Start(ctx, spec); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.cfg.EnvdTimeout)
	defer cancel()
	ctx, stop := cancelWhenDone(ctx, b.w.guest.Done())
	defer stop()
	if err := b.w.envd.Init(ctx, envdapi.Init{EnvVars: b.o.cfg.GuestEnv, HyperloopIP: envdapi.HyperloopIP}); err != nil {
		return shoal.ErrEnvdTimeout.Wrap(err, "the guest's daemon did not answer; its console ends with:\n%s", b.w.guest.Console())
	}
	return nil
}

// Guest is the way into the guest.
func (b *Workbench) Guest() *client.Client { return b.w.envd }

// Ended is closed when the guest has ended by itself.
func (b *Workbench) Ended() <-chan struct{} { return b.w.guest.Done() }

// Disk writes what is on the guest's disk over the images, as a tar, while the
// guest stands still.
func (b *Workbench) Disk(ctx context.Context, to *os.File) error {
	if err := b.w.guest.Freeze(ctx); err != nil {
		return err
	}
	return errors.Join(b.w.guest.Upper(ctx, to), b.w.guest.Thaw(ctx))
}

// Keep makes a build of the guest as it stands now, with its memory: sandboxes of
// the build begin there.
func (b *Workbench) Keep(ctx context.Context, build shoal.Build) error {
	draft, err := b.o.checkpoint(ctx, b.w.guest, buildArtifact(build.ID), true)
	if err != nil {
		return err
	}
	c := b.o.describe(b.w.root, build)
	c.Kernel, c.Memory = b.w.kernel, true
	if err := b.o.commit(ctx, draft, c); err != nil {
		return err
	}
	b.o.AddBuild(build)
	return nil
}

// Close ends the guest; nothing of it is left.
func (b *Workbench) Close() error { return b.o.stopWarm(context.Background(), b.w) }

// KeepBuild makes a build of images alone. This machine remembers it.
func (o *Orchestrator) KeepBuild(ctx context.Context, build shoal.Build) error {
	root, err := o.rootOf(build)
	if err != nil {
		return err
	}
	draft, err := o.artifacts.Draft(buildArtifact(build.ID))
	if err != nil {
		return err
	}
	if err := o.commit(ctx, draft, o.describe(root, build)); err != nil {
		return err
	}
	o.AddBuild(build)
	return nil
}

func (o *Orchestrator) describe(root runtime.Root, build shoal.Build) capture {
	return capture{Runtime: o.runtime.Name(), Version: o.runtime.Version(), Root: root, Build: &build}
}

// bootTemplate takes a sandbox of a template or snapshot to a guest that answers. If the
// memory cannot be restored, the guest boots, and what runs in the template is started
// again.
func (o *Orchestrator) bootTemplate(ctx context.Context, sb *sandbox, from origin, l lease) error {
	err := o.boot(ctx, sb, from, l)
	if err == nil || from.cold == nil || shoal.ErrNetworkExhausted.Matches(err) {
		return err
	}
	o.log.Warn("a template's memory could not be restored; the sandbox boots from its disk", "sandbox", sb.id, "error", err)
	if err := o.stopGuest(ctx, sb); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.view.ColdBoot = true
	sb.mu.Unlock()
	if l.env == nil {
		l.env = o.cfg.GuestEnv
	}
	if coldErr := o.boot(ctx, sb, *from.cold, l); coldErr != nil {
		return errors.Join(err, coldErr)
	}
	if from.start.Command == "" && from.start.Ready == "" {
		return nil
	}
	return o.startAgain(ctx, sb, from.start)
}

// startAgain runs a template's start command and waits until it is ready. The
// command does not see the sandbox's own environment.
func (o *Orchestrator) startAgain(ctx context.Context, sb *sandbox, start shoal.StartBlock) error {
	defer telemetry.Begin(ctx, "start_command")()
	view := sb.snapshotView()
	return client.New(view.HostIP, view.EnvdAccessToken).Startup(ctx, start, client.Silent)
}
