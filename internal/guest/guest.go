package guest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Guest is one guest in its slot, from the slot's reservation to its release.
//
// It has one owner, who calls Prepare, Start, Await, WarmUp, Init, Kill and Release, one after
// the other. From when Start has returned any goroutine may call Done, Ended, Freeze, Thaw,
// Checkpoint, Upper, Stats, CPUTime, EndLargest, Tidy and Console. ID, Address, Resources, Root, Maker,
// Identity, SetEgress and Client may be called at any time.
type Guest struct {
	host    *Host
	plan    Plan
	runtime runtime.Runtime
	root    runtime.Root
	maker   runtime.Maker // of its checkpoints
	slot    *network.Slot
	claim   claim

	shell   runtime.Shell // nil unless prepared and not started
	running runtime.Guest // nil until started
}

// ID is the guest's name on this machine.
func (g *Guest) ID() string { return g.plan.ID }

// Address is where the host reaches every port of the guest.
func (g *Guest) Address() netip.Addr { return g.slot.HostIP() }

// Resources is what the guest may use at most.
func (g *Guest) Resources() shoal.Resources { return g.plan.Resources }

// Root is the guest's root file system.
func (g *Guest) Root() runtime.Root { return g.root }

// Maker is what takes the guest's checkpoints: an earlier version of the runtime, if the
// guest has come back from a checkpoint of that or has outlived an upgrade.
func (g *Guest) Maker() runtime.Maker { return g.maker }

// Identity is what a record says of the guest.
func (g *Guest) Identity() Identity {
	return Identity{GuestID: g.plan.ID, SlotIndex: g.slot.Index(), Root: g.root, Maker: g.maker}
}

// SetEgress replaces what the guest may reach. Before it nothing is reached.
func (g *Guest) SetEgress(ctx context.Context, e network.Egress) error {
	defer telemetry.Begin(ctx, "egress")()
	return g.slot.SetEgress(ctx, e)
}

// Named tells whether its slot's connections are decided about by name.
func (g *Guest) Named() bool { return g.slot.Named() }

// Prepare starts the guest's kernel alone, ahead of Start.
func (g *Guest) Prepare(ctx context.Context) error { return g.prepare(ctx, "") }

func (g *Guest) prepare(ctx context.Context, upper string) error {
	if err := os.MkdirAll(g.host.dir(g.plan.ID), 0o700); err != nil {
		return fmt.Errorf("make the guest's directory: %w", err)
	}
	spec := g.spec()
	spec.Upper = upper
	shell, err := g.runtime.Prepare(ctx, spec)
	if err != nil {
		return err
	}
	g.shell = shell
	return nil
}

// Start boots the guest, or restores it if the source has a checkpoint, in the kernel
// that Prepare has started or in a new one. A prepared guest's source has the root and
// the kernel that it was reserved with, and no writable layer.
func (g *Guest) Start(ctx context.Context, from Source) (err error) {
	defer func() {
		if err == nil {
			g.host.running.add(g)
		}
	}()
	if g.shell == nil {
		if err := g.prepare(ctx, from.Upper); err != nil {
			return startFailure(err)
		}
	}
	if from.Checkpoint != "" {
		g.running, err = g.shell.Restore(ctx, from.Checkpoint, from.Volumes)
	} else {
		g.running, err = g.shell.Start(ctx)
	}
	g.shell = nil // gone, or the guest's
	return startFailure(err)
}

func startFailure(err error) error {
	if err == nil {
		return nil
	}
	return shoal.ErrCreateFailed.Wrap(err, "the guest did not start")
}

// Done is closed when the guest, or the kernel that waits for it, has ended.
func (g *Guest) Done() <-chan struct{} {
	if g.shell != nil {
		return g.shell.Done()
	}
	return g.running.Done()
}

// Ended tells whether Done is closed.
func (g *Guest) Ended() bool {
	select {
	case <-g.Done():
		return true
	default:
		return false
	}
}

// Freeze stops every task in the guest; Thaw lets them go on. Both do nothing where that
// is so already.
func (g *Guest) Freeze(ctx context.Context) error {
	defer telemetry.Begin(ctx, "freeze")()
	return g.running.Freeze(ctx)
}

// Thaw is the contrary of Freeze.
func (g *Guest) Thaw(ctx context.Context) error {
	defer telemetry.Begin(ctx, "thaw")()
	return g.running.Thaw(ctx)
}

// Checkpoint writes memory and disk into the empty directory dir. A frozen guest stays
// frozen; a running one stands still meanwhile and then goes on.
func (g *Guest) Checkpoint(ctx context.Context, dir string) error {
	return g.running.Checkpoint(ctx, dir)
}

// Upper writes what is on the guest's disk over its images, as a tar. The guest is frozen.
func (g *Guest) Upper(ctx context.Context, to *os.File) error { return g.running.Upper(ctx, to) }

// Changes writes what the guest has over its images, as a tar.
func (g *Guest) Changes(ctx context.Context, to *os.File) error { return g.running.Changes(ctx, to) }

// Mount shows a volume to the guest, unless it has it already.
func (g *Guest) Mount(ctx context.Context, v runtime.Volume) error { return g.running.Mount(ctx, v) }

// HasVolumes reports whether the guest's runtime gives guests volumes.
func (g *Guest) HasVolumes() bool { return g.runtime.Volumes() }

// Stats is what the host sees the guest use.
func (g *Guest) Stats(ctx context.Context) (runtime.Stats, error) { return g.running.Stats(ctx) }

// CPUTime is the processor time that the host has charged to the guest.
func (g *Guest) CPUTime() time.Duration { return g.running.CPUTime() }

// EndLargest is runtime.Guest.EndLargest.
func (g *Guest) EndLargest(ctx context.Context) (runtime.EndedProcess, error) {
	return g.running.EndLargest(ctx)
}

// Tidy bounds what the host holds for the guest; it is to be called every few seconds.
func (g *Guest) Tidy() { g.running.Tidy() }

// Console is the last that the first process has written and, once it has ended, how.
func (g *Guest) Console() string { return g.running.Console() }

// Kill ends the guest and returns when nothing of it runs. Its slot is its own until
// Release.
func (g *Guest) Kill(ctx context.Context) (err error) {
	switch {
	case g.running != nil:
		err = g.running.Kill(ctx)
	case g.shell != nil:
		err = g.shell.Kill(ctx)
	}
	if err != nil {
		return fmt.Errorf("end the guest: %w", err)
	}
	return nil
}

// Release gives back the slot of a guest that has ended, or never begun, and removes its
// files.
func (g *Guest) Release() error {
	g.claim.hangUp()
	g.host.running.remove(g)
	g.host.slots.Release(g.slot)
	return os.RemoveAll(g.host.dir(g.plan.ID))
}

// Stop is Kill and Release.
func (g *Guest) Stop(ctx context.Context) error { return errors.Join(g.Kill(ctx), g.Release()) }
