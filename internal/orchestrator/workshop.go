package orchestrator

import (
	"context"
	"errors"
	"os"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/guest"
	"shoal/internal/network"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// Templates are built in guests that belong to no sandbox, and to no record: what
// is left of them after a crash is removed at the next start.

// Workshop is where templates are built on this machine.
type Workshop struct {
	cfg       *Config
	host      *guest.Host
	builds    *builds
	snapshots *snapshot.Store
	load      *load
	egress    network.Egress
}

// Workshop returns this machine's.
func (o *Orchestrator) Workshop() *Workshop {
	return &Workshop{cfg: o.cfg, host: o.host, builds: o.builds, snapshots: o.snapshots, load: &o.load,
		egress: o.keeper.openEgress}
}

// Workbench is a guest in which a template is built. Close ends it.
type Workbench struct {
	shop *Workshop
	own  *guest.Guest
}

// Open boots a guest from the images of a build, which need not be known here. Its disk is
// empty over them.
func (w *Workshop) Open(ctx context.Context, build shoal.Build) (*Workbench, error) {
	defer w.load.begin()() // nothing is started ahead meanwhile
	root, err := w.builds.root(build)
	if err != nil {
		return nil, shoal.ErrImageMissing.Wrap(err, "a root image of build %s is missing", build.ID)
	}
	from := guest.Source{Root: root, Runtime: build.Runtime}
	own, err := w.host.Reserve(ctx, guest.Plan{
		ID: "build-" + shoal.NewExecutionID()[:18], Resources: build.Resources,
		Facts:      envdapi.Facts{TemplateID: build.TemplateID, TokenHash: envdapi.TokenHash("")},
		Background: true, // somebody waits for an answer of each sandbox
	}, from)
	if err != nil {
		return nil, err
	}
	b := &Workbench{shop: w, own: own}
	if err := b.boot(ctx, from); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Workbench) boot(ctx context.Context, from guest.Source) error {
	if err := b.own.SetEgress(ctx, b.shop.egress); err != nil {
		return err
	}
	if err := b.own.Start(ctx, from); err != nil {
		return err
	}
	return b.own.Init(ctx,
		envdapi.Init{EnvVars: b.shop.cfg.GuestEnv, HyperloopIP: envdapi.HyperloopIP}, envdapi.Facts{})
}

// Guest is the way into the guest.
func (b *Workbench) Guest() *client.Client { return b.own.Client("") }

// Ended is closed when the guest has ended by itself.
func (b *Workbench) Ended() <-chan struct{} { return b.own.Done() }

// Disk writes what is on the guest's disk over the images, as a tar, while the
// guest stands still.
func (b *Workbench) Disk(ctx context.Context, to *os.File) error { return b.own.Changes(ctx, to) }

// Keep makes a build of the guest as it stands now, with its memory: sandboxes of
// the build begin there.
func (b *Workbench) Keep(ctx context.Context, build shoal.Build) error {
	draft, err := b.shop.snapshots.Checkpoint(ctx, b.own, snapshot.BuildName(build.ID), true)
	if err != nil {
		return err
	}
	c := snapshot.Of(b.own)
	c.Build = &build
	size, err := b.shop.snapshots.Commit(ctx, draft, c)
	if err != nil {
		return err
	}
	b.shop.builds.add(build, size)
	return nil
}

// Close ends the guest; nothing of it is left.
func (b *Workbench) Close() error { return b.own.Stop(context.Background()) }

// KeepBuild makes a build of images alone. This machine remembers it.
func (w *Workshop) KeepBuild(ctx context.Context, build shoal.Build) error {
	root, err := w.builds.root(build)
	if err != nil {
		return err
	}
	rt, err := w.host.Runtimes().Choose(build.Runtime)
	if err != nil {
		return err
	}
	made := rt.Maker()
	made.Kernel = "" // it need not be kept for images
	c := snapshot.Capture{Maker: made, Root: root, Build: &build}
	if err := w.snapshots.KeepBuild(ctx, c); err != nil {
		return err
	}
	w.builds.add(build, 0)
	return nil
}
