package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// A paused sandbox rests for a while: its guest stays frozen in memory, although
// all of it is on disk, so that a resume soon after costs next to nothing. A
// resting guest gives way to whatever needs its place, and to a restart.

// rest keeps the guest of a sandbox that has just been paused with its memory, at
// least until its snapshot is on the disk and its own disk is saved separately. The guest
// of a pause without memory ends at once.
func (p *pauses) rest(ctx context.Context, sb *sandbox) {
	sb.mu.Lock()
	own, execution, from := sb.guest, sb.view.ExecutionID, *sb.saved
	sb.view.HostIP = ""
	if from.Memory {
		sb.restUntil = time.Now().Add(p.cfg.RestTime)
		sb.keeping = make(chan struct{})
	}
	keeping := sb.keeping
	sb.mu.Unlock()
	if !from.Memory {
		if err := p.guests.stop(ctx, sb); err != nil {
			p.log.Error("the guest of a paused sandbox has left something behind",
				"sandbox", sb.id, "error", err)
		}
		return
	}
	if p.cfg.Ended != nil {
		p.cfg.Ended(execution) // nobody answers on its connections any more
	}
	p.tasks.Go(func() {
		defer close(keeping)
		p.seal(sb, from)
		p.keepDisk(context.WithoutCancel(ctx), sb, own, from)
	})
}

// seal waits until the snapshot of a pause is on the disk. While it is not, the
// guest is not ended.
func (p *pauses) seal(sb *sandbox, from snapshot.Saved) {
	again := time.NewTicker(sealRetry)
	defer again.Stop()
	for range sealTries {
		err := p.trySeal(sb, from)
		if err == nil {
			return
		}
		p.log.Error("the snapshot of a paused sandbox is not on the disk yet", "sandbox", sb.id, "error", err)
		select {
		case <-p.tasks.stopped:
			return // the next start goes on with it
		case <-again.C:
		}
	}
}

// trySeal brings the snapshot of a pause to the disk, and then the record of the pause.
func (p *pauses) trySeal(sb *sandbox, from snapshot.Saved) error {
	if err := p.snapshots.Seal(from.Artifact); err != nil {
		return err
	}
	sb.mu.Lock()
	same := sb.saved != nil && sb.saved.Artifact == from.Artifact
	if same {
		sb.saved.OnDisk = true
	}
	sb.mu.Unlock()
	if !same {
		return nil // resumed or killed meanwhile
	}
	return p.records.save(sb)
}

// sealLeft brings to the disk what an earlier process had no time for.
func (p *pauses) sealLeft(paused []*sandbox) {
	p.sealing.Go(func() {
		for _, sb := range paused {
			from, ok := sb.savedNow()
			if !ok {
				continue // resumed or killed meanwhile
			}
			if err := p.trySeal(sb, from); err != nil {
				p.log.Error("the snapshot of a paused sandbox is not on the disk", "sandbox", sb.id, "error", err)
			}
		}
	})
}

// A disk that refused a snapshot is left alone for sealRetry, sealTries times.
const (
	sealTries = 3
	sealRetry = 5 * time.Second
)

// maxSpareDisk bounds what is written twice, in bytes. A larger disk is only in the
// checkpoint.
const maxSpareDisk = 2 << 30

// keepDisk writes the disk of a resting guest. It is a fallback for a lost checkpoint: a pause
// does not depend on it.
func (p *pauses) keepDisk(ctx context.Context, sb *sandbox, own *guest.Guest, from snapshot.Saved) {
	stats, err := own.Stats(ctx)
	if stats.DiskBytes > maxSpareDisk || !sb.isSavedAs(from) {
		return
	}
	var size int64
	if err == nil {
		size, err = p.snapshots.KeepDisk(ctx, own, from.DiskName())
	}
	stale := !sb.addKept(from, size)
	if stale { // resumed meanwhile, so that what was read may be torn; or killed
		err = errors.Join(err, p.snapshots.DropDisk(from))
	}
	if err != nil && !stale {
		p.log.Warn("the disk of a paused sandbox is only in its checkpoint", "sandbox", sb.id, "error", err)
	}
}

// addKept is isSavedAs, and adds to what the sandbox takes on the disk if it is.
func (s *sandbox) addKept(from snapshot.Saved, bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	saved := s.isSavedAsLocked(from)
	if saved {
		s.view.KeptBytes += bytes
	}
	return saved
}

// isSavedAs tells whether the sandbox is paused still, or again, with this snapshot.
func (s *sandbox) isSavedAs(from snapshot.Saved) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isSavedAsLocked(from)
}

func (s *sandbox) isSavedAsLocked(from snapshot.Saved) bool {
	return s.saved != nil && s.saved.Artifact == from.Artifact && s.view.State == shoal.StatePaused
}

// cool ends the guest of a resting sandbox. Anybody may call it.
func (p *pauses) cool(ctx context.Context, sb *sandbox) {
	sb.mu.Lock()
	keeping := sb.keeping
	sb.mu.Unlock()
	if keeping != nil {
		<-keeping // before the transition: a resume must not wait for it
	}
	t, begun, err := sb.begin(ctx, shoal.StatePaused, func(state shoal.State) error {
		if state != shoal.StatePaused || sb.guest == nil || sb.keeping != keeping { // or paused anew
			return shoal.ErrSandboxState.New("Sandbox %q does not rest", sb.id)
		}
		return nil
	})
	if err != nil {
		return // resumed, killed or cooled meanwhile
	}
	if !begun {
		_ = t.wait(ctx)
		return
	}
	if err := p.guests.stop(ctx, sb); err != nil {
		p.log.Error("the guest of a paused sandbox has left something behind", "sandbox", sb.id, "error", err)
	}
	sb.end(t, shoal.StatePaused, nil)
}

// coolFor makes room in memory: the guests that rest longest end first, until their memory
// limits sum up to at least need bytes. Anybody may call it.
func (p *pauses) coolFor(ctx context.Context, need int64) {
	for need > 0 {
		var oldest *sandbox
		var since time.Time
		for _, sb := range p.table.all() {
			if until := sb.resting(); !until.IsZero() && (oldest == nil || until.Before(since)) {
				oldest, since = sb, until
			}
		}
		if oldest == nil {
			return
		}
		need -= oldest.viewNow().Resources.MemoryMB << 20
		p.cool(ctx, oldest)
	}
}

// resting returns when the sandbox's rest ends; zero if it does not rest.
func (s *sandbox) resting() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view.State != shoal.StatePaused || s.guest == nil || s.current != nil {
		return time.Time{}
	}
	return s.restUntil
}
