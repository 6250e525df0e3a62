package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// origin is what a guest starts from: a root file system, and for a guest that comes
// back the directory of its checkpoint and the kernel that took it.
type origin struct {
	root       runtime.Root
	kernel     string
	checkpoint string // "" is a cold boot
	upper      string // what the disk begins with, at a cold boot
	// verify, if set, reads what the checkpoint's files should be.
	verify func() error
	// cold, if set, is what a template's guest starts from when its memory cannot be
	// restored; start has to run in it then.
	cold  *origin
	start shoal.StartBlock
}

// lease is what one execution of a sandbox gets.
type lease struct {
	timeout time.Duration
	// env replaces the guest's environment; nil leaves it.
	env map[string]string
}

// boot takes a sandbox to a guest that answers, in a new slot and under a new
// execution ID.
func (o *Orchestrator) boot(ctx context.Context, sb *sandbox, from origin, l lease) error {
	egress, err := network.ParsePolicy(sb.snapshotView().Network)
	if err != nil {
		return err
	}
	if ahead := o.takeShell(sb, from); ahead != nil {
		err := o.bootIn(ctx, sb, from, l, egress, ahead)
		if err == nil || shoal.ErrSnapshotDamaged.Matches(err) {
			return err
		}
		o.log.Warn("a kernel started ahead was of no use", "sandbox", sb.id, "error", err)
		if err := o.stopGuest(ctx, sb); err != nil {
			return err
		}
	}
	err = o.bootIn(ctx, sb, from, l, egress, nil)
	if err == nil || !errors.Is(err, errGuestEnded) || from.checkpoint != "" {
		return err
	}
	// Envd does not end by itself, so this is a fault of the moment, like a machine that
	// was short of memory. It is logged with the kernel's last words.
	o.log.Warn("a guest ended while it booted; another is tried", "sandbox", sb.id, "error", err)
	if err := o.stopGuest(ctx, sb); err != nil {
		return err
	}
	return o.bootIn(ctx, sb, from, l, egress, nil)
}

// takeShell returns a kernel that was started ahead and fits, or nil.
func (o *Orchestrator) takeShell(sb *sandbox, from origin) *bootShell {
	if from.upper != "" || (from.kernel != "" && from.kernel != o.runtime.Kernel()) {
		return nil
	}
	return o.shells.take(shellKey{root: from.root, resources: sb.snapshotView().Resources}, time.Now())
}

// bootIn is boot in a kernel that was started ahead, or, without one, in a new
// one.
func (o *Orchestrator) bootIn(ctx context.Context, sb *sandbox, from origin, l lease, egress network.Egress, ahead *bootShell) error {
	if err := o.prepare(ctx, sb, from, ahead); err != nil {
		return err
	}
	if ahead != nil && !reflect.DeepEqual(egress, o.openEgress) {
		// A kernel started ahead has an open slot, and its guest may begin at once.
		if err := o.restrict(ctx, sb.slot, egress); err != nil {
			return err
		}
	}
	// In a new slot the rules are set while the guest's kernel starts: until then it
	// lets nothing out. The snapshot is read meanwhile, too.
	restricted, verified := make(chan error, 1), make(chan error, 1)
	go func() {
		if ahead != nil {
			restricted <- nil
			return
		}
		restricted <- o.restrict(ctx, sb.slot, egress)
	}()
	go func() {
		if from.verify == nil {
			verified <- nil
			return
		}
		defer telemetry.Begin(ctx, "verify")()
		verified <- from.verify()
	}()
	err := o.startGuest(ctx, sb, from, ahead)
	// A damaged snapshot explains whatever else went wrong, so it comes first.
	if err = errors.Join(<-verified, err, <-restricted); err != nil {
		return err
	}
	return o.initialise(ctx, sb, l, client.New(sb.snapshotView().HostIP, ""))
}

func (o *Orchestrator) restrict(ctx context.Context, slot *network.Slot, egress network.Egress) error {
	defer telemetry.Begin(ctx, "egress")()
	return slot.SetEgress(egress)
}

// prepare gives the sandbox a slot and the names of a new boot, and records them.
func (o *Orchestrator) prepare(ctx context.Context, sb *sandbox, from origin, ahead *bootShell) error {
	id, slot, secret := sb.id+"-"+shoal.NewExecutionID()[:8], (*network.Slot)(nil), ""
	if ahead != nil {
		id, slot, secret = ahead.id, ahead.slot, ahead.secret
	} else {
		end := telemetry.Begin(ctx, "slot")
		var err error
		slot, err = o.slots.Acquire(ctx)
		end()
		if err != nil {
			return err
		}
	}
	sb.mu.Lock()
	sb.slot, sb.guestID, sb.bootSecret = slot, id, secret
	sb.root, sb.kernel = from.root, from.kernel
	if sb.kernel == "" {
		sb.kernel = o.runtime.Kernel()
	}
	sb.view.ExecutionID = shoal.NewExecutionID()
	sb.view.HostIP = slot.HostIP().String()
	sb.mu.Unlock()
	// From here on a killed orchestrator finds what it has to remove.
	return o.saveView(sb)
}

// startGuest boots the sandbox's guest in its slot, restored if there is a
// checkpoint, and watches it.
func (o *Orchestrator) startGuest(ctx context.Context, sb *sandbox, from origin, ahead *bootShell) error {
	guest, err := o.startIn(ctx, sb, from, ahead)
	if err != nil {
		return shoal.ErrCreateFailed.Wrap(err, "the guest did not start")
	}
	sb.mu.Lock()
	sb.guest = guest
	sb.mu.Unlock()
	o.watch(sb, guest)
	return nil
}

func (o *Orchestrator) startIn(ctx context.Context, sb *sandbox, from origin, ahead *bootShell) (runtime.Guest, error) {
	switch {
	case ahead != nil && from.checkpoint != "":
		return ahead.shell.Restore(ctx, from.checkpoint)
	case ahead != nil:
		return ahead.shell.Start(ctx)
	}
	spec := o.guestSpec(sb)
	spec.Upper = from.upper
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the guest's directory: %w", err)
	}
	if from.checkpoint != "" {
		return o.runtime.Restore(ctx, spec, from.checkpoint)
	}
	return o.runtime.Start(ctx, spec)
}

// guestSpec describes the current boot; it is the same before and after a
// restart of this process.
func (o *Orchestrator) guestSpec(sb *sandbox) runtime.Spec {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	spec := o.specOf(sb.guestID, sb.root, sb.kernel, sb.view.Resources, sb.slot)
	spec.Env = append(spec.Env, envdapi.Facts{SandboxID: sb.id, TemplateID: sb.view.TemplateID,
		TokenHash: envdapi.TokenHash(sb.view.EnvdAccessToken)}.Environ()...)
	return spec
}

// specOf describes a boot of whatever sandbox.
func (o *Orchestrator) specOf(guestID string, root runtime.Root, kernel string, resources shoal.Resources, slot *network.Slot) runtime.Spec {
	link := slot.Link()
	return runtime.Spec{
		ID: guestID, Dir: o.guestDir(guestID), UpperDir: o.upperDir(),
		Root: root, Kernel: kernel, Hostname: "e2b.local",
		Resources: resources, MaxProcesses: o.cfg.MaxProcesses,
		Args: envdapi.Command(),
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "USER=root",
			envdapi.SandboxVariable + "=true",
		},
		Link: runtime.Link{
			Address: netip.PrefixFrom(link.GuestIP, link.PrefixLen), Gateway: link.Gateway,
			MAC: net.HardwareAddr(link.GuestMAC), MTU: link.MTU, Open: slot.PacketSocket,
		},
	}
}

// initialise makes the guest's daemon, to which by speaks, the sandbox's own and starts
// the sandbox's clock.
func (o *Orchestrator) initialise(ctx context.Context, sb *sandbox, l lease, by *client.Client) error {
	defer telemetry.Begin(ctx, "envd_init")()
	view := sb.snapshotView()
	body := envdapi.Init{EnvVars: l.env, HyperloopIP: envdapi.HyperloopIP,
		DefaultUser: view.DefaultUser, DefaultWorkdir: view.DefaultWorkdir,
		AccessToken: envdapi.AccessToken(view.EnvdAccessToken), LifecycleID: view.ExecutionID}
	if sb.bootSecret != "" {
		body.Identity = &envdapi.Identity{Secret: sb.bootSecret, SandboxID: sb.id, TemplateID: view.TemplateID,
			TokenHash: envdapi.TokenHash(view.EnvdAccessToken)}
	}
	initCtx, cancel := context.WithTimeout(ctx, o.cfg.EnvdTimeout)
	defer cancel()
	initCtx, stop := cancelWhenDone(initCtx, sb.guest.Done())
	defer stop()
	if err := by.Init(initCtx, body); err != nil {
		if errors.Is(err, errGuestEnded) {
			return shoal.ErrEnvdTimeout.Wrap(err, "the guest ended before its daemon answered; its console ends with:\n%s", sb.guest.Console())
		}
		return shoal.ErrEnvdTimeout.Wrap(err, "the guest's daemon did not answer within %s; its console ends with:\n%s",
			o.cfg.EnvdTimeout, sb.guest.Console())
	}
	now := time.Now().UTC()
	sb.mu.Lock()
	sb.view.StartedAt = now
	sb.view.EndAt = now.Add(min(l.timeout, sb.view.MaxLength))
	sb.view.EnvVars = nil // the guest has them; they are kept nowhere else
	sb.mu.Unlock()
	return nil
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
