package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"shoal/internal/eventlog"
	"shoal/internal/shoal"
)

const (
	// tellDelay is how long events are gathered until they go to the disk together.
	tellDelay = 100 * time.Millisecond
	// tellAgain is how long a disk that refused them is left alone.
	tellAgain = 5 * time.Second
	// maxGraves is how many sandboxes that have ended wait for the disk to take their last
	// events.
	maxGraves = 10_000
	// eventWait is how long Events waits for some.
	eventWait = 20 * time.Second
)

// outbox brings events from the records to the log on the machine's disk, beside what the
// sandboxes do: a transition waits for it only to end a sandbox.
type outbox struct {
	disk    *eventlog.Log // nil: nobody is told anything
	log     *slog.Logger
	table   *table
	records *records
	wake    chan struct{}

	mu     sync.Mutex          // guards graves; a leaf
	graves map[string]*sandbox // those that have ended, and whose last events the disk has not
}

func newOutbox(cfg *Config, t *table, r *records, log *slog.Logger) *outbox {
	b := &outbox{disk: cfg.Events, log: log, table: t, records: r, wake: make(chan struct{}, 1),
		graves: map[string]*sandbox{}}
	r.news = b.nudge
	return b
}

// nudge tells Run that there are events.
func (b *outbox) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run brings events to the disk until ctx ends, and then those that are left.
func (b *outbox) Run(ctx context.Context) error {
	if b.disk == nil {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := true // the timer fires within tellDelay
	for {
		select {
		case <-ctx.Done():
			if err := b.tellAll(context.WithoutCancel(ctx)); err != nil {
				b.log.Error("events are not on the disk yet; the next start goes on with them", "error", err)
			}
			return nil
		case <-b.wake:
			if !soon {
				soon = true
				timer.Reset(tellDelay)
			}
			continue
		case <-timer.C:
		}
		soon = false
		if err := b.tellAll(ctx); err != nil {
			b.log.Error("events cannot be brought to the disk; they stay in memory", "error", err)
			timer.Reset(tellAgain)
		}
	}
}

// tellAll brings the events of all sandboxes to the disk.
func (b *outbox) tellAll(ctx context.Context) error {
	if err := b.tellLiving(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	graves := slices.Collect(maps.Values(b.graves))
	b.mu.Unlock()
	for _, sb := range graves {
		if err := b.tell(ctx, sb); err != nil {
			return err
		}
		if err := b.forget(sb); err != nil {
			return err
		}
	}
	return nil
}

// tellLiving is tellAll without those that have ended. A sandbox that is being killed is left to
// whoever does that.
func (b *outbox) tellLiving(ctx context.Context) error {
	var events []shoal.Event
	upTo := map[*sandbox]int64{}
	for _, sb := range b.table.all() {
		if !sb.telling.TryLock() {
			continue // it is being told
		}
		list := sb.untoldNow(false)
		if len(list) == 0 {
			sb.telling.Unlock()
			continue
		}
		defer sb.telling.Unlock()
		events, upTo[sb] = append(events, list...), list[len(list)-1].Number
	}
	if err := b.disk.Append(ctx, events); err != nil {
		return err
	}
	var errs error
	for sb, number := range upTo {
		errs = errors.Join(errs, b.records.told(sb, number))
	}
	return errs
}

// tell brings the events of one sandbox to the disk, its end among them.
func (b *outbox) tell(ctx context.Context, sb *sandbox) error {
	if b.disk == nil {
		return nil
	}
	sb.telling.Lock()
	defer sb.telling.Unlock()
	list := sb.untoldNow(true)
	if len(list) == 0 {
		return nil
	}
	if err := b.disk.Append(ctx, list); err != nil {
		return err
	}
	if list[len(list)-1].Type == shoal.EventKilled {
		return nil // the record goes as a whole
	}
	return b.records.told(sb, list[len(list)-1].Number)
}

// bury tells the end of a sandbox beside what the caller does, and removes its record when
// the function that it returns is called. If the disk does not take the events, the record
// stays with them, and that is tried again.
func (b *outbox) bury(ctx context.Context, sb *sandbox) func() error {
	told := make(chan error, 1)
	go func() { told <- b.tell(ctx, sb) }() // ends with the write
	return func() error {
		err := <-told
		if err == nil {
			return b.forget(sb)
		}
		b.log.Error("the end of a sandbox cannot be brought to the disk; it stays in memory",
			"sandbox", sb.id, "error", err)
		b.mu.Lock()
		full := len(b.graves) >= maxGraves
		if !full {
			b.graves[sb.id] = sb
		}
		b.mu.Unlock()
		if full {
			b.log.Error("events of a sandbox that has ended are lost: too many wait for the disk", "sandbox", sb.id)
			return b.forget(sb)
		}
		b.nudge()
		return removeRecord(b.records.kept, sb.id)
	}
}

// forget removes the record of a sandbox whose end is told.
func (b *outbox) forget(sb *sandbox) error {
	b.mu.Lock()
	delete(b.graves, sb.id)
	b.mu.Unlock()
	return b.records.forget(sb)
}

// untoldNow are the events in the sandbox's record that the log does not have. Those of one that
// is being killed are nobody's but who does that, for the kill may still fail.
func (s *sandbox) untoldNow(dying bool) []shoal.Event {
	s.recording.Lock() // what is not in the record yet may be withdrawn
	defer s.recording.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view.State == shoal.StateKilling && !dying {
		return nil
	}
	return slices.Clone(s.untold.events)
}

// tellLost tells the end of the sandboxes that have left no record, as after a power cut.
func (b *outbox) tellLost(ctx context.Context, known map[string]bool) error {
	if b.disk == nil {
		return nil
	}
	lost, err := b.disk.Lost(ctx, known)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i, last := range lost {
		b.log.Warn("a sandbox is lost: there is no record of it any more", "sandbox", last.SandboxID)
		lost[i] = lostWith(last, now)
	}
	return b.disk.Append(ctx, lost)
}

// Events implements shoal.Node.
func (o *Orchestrator) Events(ctx context.Context, after shoal.EventMark) (shoal.EventBatch, error) {
	if o.outbox.disk == nil {
		return shoal.EventBatch{}, shoal.ErrUnavailable.New("The machine keeps no events")
	}
	timer := time.NewTimer(eventWait)
	defer timer.Stop()
	for {
		batch, news, err := o.outbox.disk.After(ctx, after)
		if err != nil || len(batch.Events) > 0 {
			return batch, err
		}
		select {
		case <-news:
		case <-timer.C:
			return batch, nil
		case <-ctx.Done():
			return batch, ctx.Err()
		case <-o.tasks.stopped:
			return batch, shoal.ErrUnavailable.New("The machine is shutting down")
		}
	}
}
