package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"time"

	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Create starts a new sandbox. It returns when the guest's daemon has been
// initialised; when it fails nothing of the sandbox is left.
func (o *Orchestrator) Create(ctx context.Context, spec shoal.Spec) (shoal.Sandbox, error) {
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
	if err := o.bootNew(ctx, sb); err != nil {
		o.createFail.Add(1)
		cleanup := o.dismantle(context.WithoutCancel(ctx), sb)
		sb.end(t, shoal.StateKilling, err)
		log.Error("create failed", "error", err, "cleanup", cleanup, "phases_ms", phases)
		return shoal.Sandbox{}, err
	}
	sb.end(t, shoal.StateRunning, nil)
	o.createOK.Add(1)
	o.nudge()
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
	case len(o.sandboxes) >= o.cfg.MaxSandboxes:
		return nil, shoal.ErrCapacity.New("the machine runs %d sandboxes, its maximum", o.cfg.MaxSandboxes)
	}
	sb := &sandbox{id: spec.SandboxID, view: shoal.Sandbox{Spec: spec, State: shoal.StateCreating, NodeID: o.cfg.NodeID}}
	o.sandboxes[spec.SandboxID] = sb
	return sb, nil
}

// bootNew takes a sandbox from its specification to a guest that answers.
func (o *Orchestrator) bootNew(ctx context.Context, sb *sandbox) error {
	spec := sb.snapshotView().Spec
	image, err := o.imageOf(spec.BuildID)
	if err != nil {
		return err
	}
	egress, err := network.ParsePolicy(spec.Network)
	if err != nil {
		return err
	}
	endSlot := telemetry.Begin(ctx, "slot")
	slot, err := o.slots.Acquire(ctx)
	endSlot()
	if err != nil {
		return err
	}
	sb.mu.Lock()
	sb.slot, sb.image = slot, image
	sb.guestID = spec.SandboxID + "-" + shoal.NewExecutionID()[:8]
	sb.view.ExecutionID = shoal.NewExecutionID()
	sb.view.HostIP = slot.HostIP().String()
	sb.mu.Unlock()
	// From here on a killed orchestrator finds what it has to remove.
	if err := o.saveView(sb); err != nil {
		return err
	}
	// The rules are set while the guest's kernel starts. Until then the slot lets
	// nothing out, and nothing of the client's runs before initialise.
	ruled := make(chan error, 1)
	go func() {
		defer telemetry.Begin(ctx, "egress")()
		ruled <- slot.SetEgress(egress)
	}()
	err = o.startGuest(ctx, sb, "")
	if err = errors.Join(err, <-ruled); err != nil {
		return err
	}
	return o.initialise(ctx, sb, spec)
}

func (o *Orchestrator) imageOf(buildID string) (string, error) {
	o.mu.Lock()
	build, ok := o.builds[buildID]
	o.mu.Unlock()
	if !ok {
		return "", shoal.ErrImageMissing.New("build %s is not on machine %s", buildID, o.cfg.NodeID)
	}
	path, err := o.images.Path(build.ImageDigest)
	if err != nil {
		return "", shoal.ErrImageMissing.Wrap(err, "the root image of build %s is missing", buildID)
	}
	return path, nil
}

// startGuest boots the sandbox's guest in its slot, restored if there is a
// checkpoint, and watches it.
func (o *Orchestrator) startGuest(ctx context.Context, sb *sandbox, checkpoint string) error {
	spec := o.guestSpec(sb)
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return fmt.Errorf("make the guest's directory: %w", err)
	}
	var guest runtime.Guest
	var err error
	if checkpoint == "" {
		guest, err = o.runtime.Start(ctx, spec)
	} else {
		guest, err = o.runtime.Restore(ctx, spec, checkpoint)
	}
	if err != nil {
		return shoal.ErrCreateFailed.Wrap(err, "the guest did not start")
	}
	sb.mu.Lock()
	sb.guest = guest
	sb.mu.Unlock()
	o.watch(sb, guest)
	return nil
}

// guestSpec describes the current boot; it is the same before and after a
// restart of this process.
func (o *Orchestrator) guestSpec(sb *sandbox) runtime.Spec {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	link := sb.slot.Link()
	return runtime.Spec{
		ID: sb.guestID, Dir: o.guestDir(sb.guestID), UpperDir: o.upperDir(),
		Image: sb.image, Hostname: "e2b.local",
		Resources: sb.view.Resources, MaxProcesses: o.cfg.MaxProcesses,
		Args: []string{"/usr/bin/envd", "-isnotfc", "-no-cgroups"},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "USER=root",
			"E2B_SANDBOX=true",
			"E2B_SANDBOX_ID=" + sb.id,
			"E2B_TEMPLATE_ID=" + sb.view.TemplateID,
			"E2B_ACCESS_TOKEN_HASH=" + tokenHash(sb.view.EnvdAccessToken),
		},
		Link: runtime.Link{
			Address: netip.PrefixFrom(link.GuestIP, link.PrefixLen), Gateway: link.Gateway,
			MAC: net.HardwareAddr(link.GuestMAC), MTU: link.MTU, Open: sb.slot.PacketSocket,
		},
	}
}

// initialise makes the guest's daemon the sandbox's own and starts its clock.
func (o *Orchestrator) initialise(ctx context.Context, sb *sandbox, spec shoal.Spec) error {
	defer telemetry.Begin(ctx, "envd_init")()
	view := sb.snapshotView()
	body := envdInit{EnvVars: maps.Clone(o.cfg.GuestEnv), HyperloopIP: hyperloopIP,
		DefaultUser: spec.DefaultUser, DefaultWorkdir: spec.DefaultWorkdir, LifecycleID: view.ExecutionID}
	if body.EnvVars == nil {
		body.EnvVars = map[string]string{}
	}
	maps.Copy(body.EnvVars, spec.EnvVars)
	if spec.EnvdAccessToken != "" {
		body.AccessToken = &spec.EnvdAccessToken
	}
	initCtx, cancel := context.WithTimeout(ctx, o.cfg.EnvdTimeout)
	defer cancel()
	initCtx, stop := cancelWhenDone(initCtx, sb.guest.Done())
	defer stop()
	if err := o.envd.init(initCtx, view.HostIP, body); err != nil {
		return shoal.ErrEnvdTimeout.Wrap(err, "the guest's daemon did not answer within %s; its console ends with:\n%s",
			o.cfg.EnvdTimeout, sb.guest.Console())
	}
	now := time.Now().UTC()
	sb.mu.Lock()
	sb.view.StartedAt = now
	sb.view.EndAt = now.Add(spec.Timeout)
	sb.view.State = shoal.StateRunning
	sb.view.EnvVars = nil // the guest has them; they are kept nowhere else
	sb.mu.Unlock()
	return o.saveView(sb)
}

// errGuestEnded is the cause of a context that ended with its guest.
var errGuestEnded = errors.New("the guest ended")

// cancelWhenDone ends a context when done is closed. Its goroutine ends with stop.
func cancelWhenDone(ctx context.Context, done <-chan struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-done:
			cancel(errGuestEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-stopped
	}
}
