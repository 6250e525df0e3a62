// Package guest is a guest in a slot: isolated processes with their place on the network,
// their files on the host, and the daemon inside that answers for them. Sandboxes, what is
// started ahead of them, and the benches on which templates are built are users of it.
package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Slots is what a host needs of the network pool.
type Slots interface {
	Acquire(ctx context.Context) (*network.Slot, error)
	Release(slot *network.Slot)
	Adopt(index int) (*network.Slot, error)
	Reclaim(inUse func(index int) bool) error
}

var _ Slots = (*network.Pool)(nil)

// Config configures a host.
type Config struct {
	// Dir has a private directory for each guest; it is on tmpfs.
	Dir string
	// UpperDir has the backing files of writable layers; it is on a disk.
	UpperDir string
	// MaxProcesses bounds processes and threads inside each guest.
	MaxProcesses int
	// DaemonTimeout bounds the wait for a started guest's daemon.
	DaemonTimeout time.Duration
}

// Host is where guests live: the runtimes and the network slots of one machine.
type Host struct {
	cfg      Config
	runtimes runtime.Set
	slots    Slots
	running  running
}

// NewHost makes a host. Open must be called before anything else.
func NewHost(cfg Config, runtimes runtime.Set, slots Slots) *Host {
	return &Host{cfg: cfg, runtimes: runtimes, slots: slots}
}

// Open makes the host's directories.
func (h *Host) Open() error {
	for _, dir := range []string{h.cfg.Dir, h.cfg.UpperDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a directory of guests: %w", err)
		}
	}
	return nil
}

// Runtimes are the machine's, the preferred one first.
func (h *Host) Runtimes() runtime.Set { return h.runtimes }

// dir is the private directory of a guest.
func (h *Host) dir(id string) string { return filepath.Join(h.cfg.Dir, id) }

// runtimeOf finds what runs a guest that starts from a source. Errors are runtime.ErrUnfit.
func (h *Host) runtimeOf(from Source) (runtime.Runtime, error) {
	if from.Checkpoint != "" {
		return h.runtimes.Restorer(from.Made)
	}
	return h.runtimes.Choose(from.Runtime)
}

// Plan is what is decided about a guest beside what it starts from.
type Plan struct {
	// ID is unique on the machine among everything that ever ran since boot.
	ID        string
	Resources shoal.Resources
	// Facts are what is known of its sandbox.
	Facts envdapi.Facts
	// Background makes the guest leave the processors to others that want them.
	Background bool
	// Claimable means that the guest is told later whose it is.
	Claimable bool
}

// Reserve gives a guest a slot and a name. Nothing of it runs yet: whoever keeps records
// can write down what has to be removed after a crash before it exists. Release gives
// the slot back.
func (h *Host) Reserve(ctx context.Context, p Plan, from Source) (*Guest, error) {
	rt, err := h.runtimeOf(from)
	if err != nil {
		return nil, shoal.ErrCreateFailed.Wrap(err, "the guest did not start")
	}
	end := telemetry.Begin(ctx, "slot")
	slot, err := h.slots.Acquire(ctx)
	end()
	if err != nil {
		return nil, err
	}
	g := &Guest{host: h, plan: p, runtime: rt, root: from.Root, maker: rt.Maker(), slot: slot}
	if from.Checkpoint != "" {
		g.maker = from.Made
	}
	if p.Claimable {
		g.claim = newClaim()
	}
	return g, nil
}

// Identity is what a record has to say of a guest, so that another process finds it.
type Identity struct {
	GuestID string `json:"guestID"`
	// SlotIndex counts from 1; 0 means that there is no guest.
	SlotIndex int          `json:"slotIndex"`
	Root      runtime.Root `json:"root"`
	// Maker is what takes its checkpoints. Earlier versions of Shoal recorded the kernel
	// alone.
	runtime.Maker
}

// makerIn completes what a record says, for a runtime of this machine.
func (id Identity) makerIn(present runtime.Maker) runtime.Maker {
	m := id.Maker
	m.Runtime = present.Runtime
	if m.Version == "" && m.Kernel == present.Kernel {
		m.Version = present.Version
	}
	return m
}

// Hold keeps the slot of a guest that is to be adopted or ended from being given to another.
// If there is no such slot any more, the error is an os.ErrNotExist.
func (h *Host) Hold(id Identity) error {
	_, err := h.slots.Adopt(id.SlotIndex)
	return err
}

// Adopt takes over a guest that an earlier process has started; Compete is to follow. One
// that has ended is runtime.ErrGone.
func (h *Host) Adopt(ctx context.Context, id Identity, p Plan) (*Guest, error) {
	// The slot first: whatever else fails, nobody else gets it.
	slot, err := h.slots.Adopt(id.SlotIndex)
	if err != nil {
		return nil, err
	}
	rt, err := h.runtimes.Named(id.Runtime)
	if err != nil {
		return nil, err
	}
	p.ID = id.GuestID
	g := &Guest{host: h, plan: p, runtime: rt, root: id.Root, maker: id.makerIn(rt.Maker()), slot: slot}
	g.running, err = rt.Adopt(ctx, g.spec())
	if err != nil {
		return nil, err
	}
	h.running.add(g)
	return g, nil
}

// Compete lets a guest have its share of the processors, whatever it had before. If it takes
// them for itself, it yields again only after it has been calm for a while.
func (g *Guest) Compete() error {
	if err := g.running.Yield(false); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("let the guest compete for processors: %w", err)
	}
	return nil
}

// Foreground ends what Plan.Background began.
func (g *Guest) Foreground() error {
	if err := g.running.Foreground(); err != nil {
		return fmt.Errorf("bring the guest to the foreground: %w", err)
	}
	return nil
}

// End ends a guest that cannot be adopted, and removes its slot and its files. It is no
// error if the guest is gone. Others are left alone.
func (h *Host) End(ctx context.Context, id Identity) error {
	rt, err := h.runtimes.Named(id.Runtime)
	if err != nil {
		return err
	}
	if err := rt.Reclaim(ctx, func(guestID string) bool { return guestID != id.GuestID }); err != nil {
		return fmt.Errorf("end the guest: %w", err)
	}
	return errors.Join(h.slots.Reclaim(func(index int) bool { return index != id.SlotIndex }),
		os.RemoveAll(h.dir(id.GuestID)))
}

// Reclaim ends and removes every guest whose ID keep does not name, and every slot that
// no kept guest has.
func (h *Host) Reclaim(ctx context.Context, keep map[string]Identity) error {
	slots := map[int]bool{}
	for _, id := range keep {
		slots[id.SlotIndex] = true
	}
	inUse := func(id string) bool { _, ok := keep[id]; return ok }
	var errs error
	for _, rt := range h.runtimes {
		errs = errors.Join(errs, rt.Reclaim(ctx, inUse))
	}
	return errors.Join(errs,
		h.slots.Reclaim(func(index int) bool { return slots[index] }),
		h.removeDirs(inUse))
}

// removeDirs deletes the directories of guests that are not in use.
func (h *Host) removeDirs(inUse func(id string) bool) error {
	entries, err := os.ReadDir(h.cfg.Dir)
	if err != nil {
		return err
	}
	var errs error
	for _, e := range entries {
		if !inUse(e.Name()) {
			errs = errors.Join(errs, os.RemoveAll(h.dir(e.Name())))
		}
	}
	return errs
}
