package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// guests gives sandboxes their guests and takes them away again. Its methods are called by
// whoever runs a transition of the sandbox.
type guests struct {
	cfg       *Config
	log       *slog.Logger
	host      *guest.Host
	builds    *builds
	records   *records
	snapshots *snapshot.Store
	keeper    *keeper
	claims    turns
	// watch is told of every guest that has started.
	watch func(*sandbox, *guest.Guest)
}

// lease is what one execution of a sandbox gets.
type lease struct {
	timeout time.Duration
	// env replaces the guest's environment; nil leaves it.
	env map[string]string
}

// enter makes a guest the sandbox's under a new execution ID, and records it: from here on
// a killed orchestrator finds what it has to remove.
func (g *guests) enter(sb *sandbox, own *guest.Guest) error {
	sb.mu.Lock()
	sb.guest, sb.last = own, own.Identity()
	sb.view.ExecutionID = shoal.NewExecutionID()
	sb.view.HostIP, sb.view.Runtime = own.Address().String(), sb.last.Runtime
	sb.mu.Unlock()
	return g.records.save(sb)
}

// reserve gives the sandbox a guest of its own that is yet to start.
func (g *guests) reserve(ctx context.Context, sb *sandbox, from guest.Source) (*guest.Guest, error) {
	view := sb.viewNow()
	own, err := g.host.Reserve(ctx, guest.Plan{ID: sb.id + "-" + shoal.NewExecutionID()[:8],
		Resources: view.Resources, Facts: factsOf(view)}, from)
	if err != nil {
		return nil, err
	}
	return own, g.enter(sb, own)
}

// initialize makes the guest's daemon the sandbox's own and starts the sandbox's clock.
func (g *guests) initialize(ctx context.Context, sb *sandbox, l lease) error {
	if err := g.mountVolumes(ctx, sb); err != nil {
		return err
	}
	view := sb.viewNow()
	body, err := sb.trusted()
	if err != nil {
		return err
	}
	body.EnvVars, body.HyperloopIP, body.LifecycleID = l.env, envdapi.HyperloopIP, view.ExecutionID
	body.DefaultUser, body.DefaultWorkdir = view.DefaultUser, view.DefaultWorkdir
	body.AccessToken = envdapi.AccessToken(view.EnvdAccessToken)
	if err := sb.guest.Init(ctx, body, factsOf(view)); err != nil {
		return err
	}
	now := time.Now().UTC()
	sb.mu.Lock()
	sb.view.StartedAt = now
	sb.view.EndAt = now.Add(min(l.timeout, sb.view.MaxLength))
	sb.view.EnvVars = nil // the guest has them; they are kept nowhere else
	sb.mu.Unlock()
	return nil
}

// stop ends the sandbox's guest and gives back what it used.
func (g *guests) stop(ctx context.Context, sb *sandbox) error {
	sb.mu.Lock()
	own, execution := sb.guest, sb.view.ExecutionID
	sb.guest = nil
	sb.view.HostIP = ""
	sb.mu.Unlock()
	var err error
	if own != nil {
		err = own.Kill(ctx)
	}
	// Before another guest can have the address.
	if g.cfg.Ended != nil && execution != "" {
		g.cfg.Ended(execution)
	}
	if own != nil {
		err = errors.Join(err, own.Release())
	}
	return err
}
