package orchestrator

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// A sandbox whose guest lives, but cannot be taken over by this process, is stranded: its
// kernel does not answer yet, say, or the machine lacks memory for a moment. It is in the
// table as one that runs, so it counts, keeps its images and ends at its deadline. Every
// sandbox that runs is stranded at a start, until the first attempt to adopt it is over;
// whoever needs its guest waits for that. After a failed one they are told that it is
// unreachable; only a kill goes through. Adopting it is tried until it succeeds, or until the
// guest is gone.

const (
	// adoptTime bounds one attempt to take over a guest.
	adoptTime = 10 * time.Second
	// adoptPeriod is the pause between two attempts.
	adoptPeriod = 2 * time.Second
)

// unreachableLocked returns an error from the catalogue if the sandbox is stranded; s.mu is
// held.
func (s *sandbox) unreachableLocked() error {
	if s.stranded == "" {
		return nil
	}
	return shoal.ErrSandboxUnreachable.New("Sandbox %q cannot be reached yet", s.id)
}

// adopter takes over guests for an orchestrator.
type adopter struct{ *Orchestrator }

// takeOver makes the guest of a stranded sandbox this process's. Errors of a guest that does
// not live are isGone; after any other it may be tried again.
func (o adopter) takeOver(ctx context.Context, sb *sandbox) error {
	ctx, cancel := context.WithTimeout(ctx, adoptTime)
	defer cancel()
	sb.mu.Lock()
	own, view, last, recorded, saved := sb.guest, sb.view, sb.last, sb.stranded, sb.saved
	sb.mu.Unlock()
	if own == nil {
		var err error
		own, err = o.host.Adopt(ctx, last, guest.Plan{Resources: view.Resources, Facts: factsOf(view)})
		if err != nil {
			return err
		}
		sb.mu.Lock()
		sb.guest, sb.last = own, own.Identity()
		sb.mu.Unlock()
	}
	if own.Ended() {
		return runtime.ErrGone
	}
	err := o.enforce(ctx, sb, own)
	if err == nil {
		err = own.Compete()
	}
	if err == nil && recorded != shoal.StateRunning {
		err = own.Thaw(ctx)
	}
	if err != nil {
		return err
	}
	sb.mu.Lock()
	sb.stranded, sb.saved = "", nil
	sb.mu.Unlock()
	if err = o.records.saveAs(sb, shoal.StateRunning); err == nil {
		err = o.records.unkeep(sb) // the record of a pause that is over may be left on the disk
	}
	if err == nil && saved != nil {
		err = o.snapshots.Drop(*saved)
	}
	if err != nil {
		o.log.Error("a pause that was cut off is not undone as a whole", "sandbox", sb.id, "error", err)
	}
	o.watch(sb, own)
	return nil
}

// enforce sets the recorded policy again if something of it, or of one that was being set when
// the process ended, is decided by name: that is done outside the guest's slot.
func (o adopter) enforce(ctx context.Context, sb *sandbox, own *guest.Guest) error {
	egress := sb.egressNow()
	if !egress.Named() && !own.Named() || sb.unknownPolicy {
		return nil
	}
	return own.SetEgress(ctx, egress)
}

// adoptLeft takes over what could not be at the start, and returns when nothing is left of
// that or ctx ends.
func (o adopter) adoptLeft(ctx context.Context) error {
	tick := time.NewTicker(adoptPeriod)
	defer tick.Stop()
	for {
		left := o.table.stranded()
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var g errgroup.Group
		g.SetLimit(recoverAtOnce)
		for _, sb := range left {
			g.Go(func() error {
				o.adoptAgain(ctx, sb)
				return nil
			})
		}
		_ = g.Wait()
	}
}

// stranded lists the sandboxes whose guests are to be taken over.
func (t *table) stranded() (list []*sandbox) {
	for _, sb := range t.all() {
		sb.mu.Lock()
		if sb.stranded != "" {
			list = append(list, sb)
		}
		sb.mu.Unlock()
	}
	return list
}

// errNotStranded means that somebody has killed a sandbox meanwhile.
var errNotStranded = errors.New("the sandbox is not stranded")

// adoptFirst is the attempt at the start, whose transition is under way.
func (o adopter) adoptFirst(ctx context.Context, sb *sandbox) {
	sb.mu.Lock()
	t := sb.current
	sb.mu.Unlock()
	if err := o.adopt(ctx, sb, t); err != nil && !isGone(err) {
		o.log.Error("a sandbox cannot be taken over yet", "sandbox", sb.id, "error", err)
	}
}

// adoptAgain is a later attempt. It is a transition, so that a kill waits for its end.
func (o adopter) adoptAgain(ctx context.Context, sb *sandbox) {
	t, begun, err := sb.begin(ctx, shoal.StateRunning, func(shoal.State) error { // called with sb.mu held
		if sb.stranded == "" {
			return errNotStranded
		}
		return nil
	})
	if err != nil || !begun {
		return
	}
	if err := o.adopt(ctx, sb, t); err == nil {
		o.log.Info("a sandbox is taken over at last", "sandbox", sb.id)
	}
}

// adopt is one attempt, and ends its transition.
func (o adopter) adopt(ctx context.Context, sb *sandbox, t *transition) error {
	err := o.takeOver(ctx, sb)
	state := shoal.StateRunning
	if err != nil && isGone(err) {
		state = o.giveUp(ctx, sb)
	}
	sb.end(t, state, nil)
	o.nudge()
	return err
}

// giveUp ends the wait for a guest that is gone, and returns the sandbox's state from now
// on: it is paused if a pause had kept all of it, else it is no more.
func (o adopter) giveUp(ctx context.Context, sb *sandbox) shoal.State {
	state := shoal.StateKilling
	if saved, ok := sb.savedNow(); ok {
		if _, _, err := o.snapshots.Get(saved.Artifact); err == nil {
			state = shoal.StatePaused
		}
	}
	ctx = context.WithoutCancel(ctx)
	err := o.endStranded(ctx, sb)
	if state == shoal.StatePaused {
		err = errors.Join(err, o.guests.stop(ctx, sb), o.records.saveEvent(sb, to(state, shoal.EventPaused)))
		o.pauses.sealLeft([]*sandbox{sb})
	} else {
		_, recordErr := o.records.enter(sb, killed(shoal.KillUnknown), true)
		err = errors.Join(err, recordErr, o.dismantle(ctx, sb))
		o.journal.note(sb, shoal.LogError, "The sandbox ended while its machine could not reach it", nil)
	}
	o.log.Warn("a sandbox's guest did not survive", "sandbox", sb.id, "state", state, "error", err)
	return state
}

// endStranded ends the guest of a stranded sandbox that this process does not have. It is
// stranded no more then.
func (o adopter) endStranded(ctx context.Context, sb *sandbox) error {
	sb.mu.Lock()
	apart, last := sb.stranded != "" && sb.guest == nil, sb.last
	sb.mu.Unlock()
	if apart && o.table.sharesSlot(sb, last.SlotIndex) {
		last.SlotIndex = 0
	}
	if apart {
		if err := o.host.End(ctx, last); err != nil {
			return err
		}
	}
	sb.mu.Lock()
	sb.stranded = ""
	sb.mu.Unlock()
	return nil
}

// sharesSlot tells whether another sandbox has the slot that a stranded one's record names.
// The slot of a guest that has ended may have been given away before its record was removed.
func (t *table) sharesSlot(stranded *sandbox, index int) bool {
	for _, sb := range t.all() {
		if sb == stranded {
			continue
		}
		sb.mu.Lock()
		shares := sb.last.SlotIndex == index && (sb.guest != nil || sb.stranded != "")
		sb.mu.Unlock()
		if shares {
			return true
		}
	}
	return false
}
