package orchestrator

import (
	"context"
	"time"

	"shoal/internal/shoal"
)

// A paused sandbox rests for a while: its guest stays frozen in memory, although
// all of it is on disk, so that a resume soon after costs next to nothing. A
// resting guest gives way to whatever needs its place, and to a restart.

// rest keeps the guest of a sandbox that has just been paused with its memory, at
// least until its snapshot is on the disk and its own disk is written apart, and
// ends that of another.
func (o *Orchestrator) rest(ctx context.Context, sb *sandbox) {
	sb.mu.Lock()
	guest, execution, from := sb.guest, sb.view.ExecutionID, *sb.saved
	sb.view.HostIP = ""
	if from.Memory {
		sb.restUntil = time.Now().Add(o.cfg.RestTime)
		sb.keeping = make(chan struct{})
	}
	keeping := sb.keeping
	sb.mu.Unlock()
	if !from.Memory {
		if err := o.stopGuest(ctx, sb); err != nil {
			o.log.Error("something of a paused sandbox's guest is left", "sandbox", sb.id, "error", err)
		}
		return
	}
	if o.cfg.Ended != nil {
		o.cfg.Ended(execution) // nobody answers on its connections any more
	}
	o.background.Add(1)
	go func() {
		defer o.background.Done()
		defer close(keeping)
		o.seal(sb, from)
		o.keepDisk(context.WithoutCancel(ctx), sb, guest, from)
	}()
}

// seal waits until the snapshot of a pause is on the disk. While it is not, the
// guest is not ended.
func (o *Orchestrator) seal(sb *sandbox, from saved) {
	again := time.NewTicker(sealRetry)
	defer again.Stop()
	for range sealTries {
		err := o.trySeal(sb, from)
		if err == nil {
			return
		}
		o.log.Error("the snapshot of a paused sandbox is not on the disk yet", "sandbox", sb.id, "error", err)
		select {
		case <-o.stopped:
			return // the next start goes on with it
		case <-again.C:
		}
	}
}

// trySeal brings the snapshot of a pause to the disk, and then the record of the pause.
func (o *Orchestrator) trySeal(sb *sandbox, from saved) error {
	if err := o.artifacts.Seal(from.Artifact); err != nil {
		return err
	}
	sb.mu.Lock()
	same := sb.saved != nil && sb.saved.Artifact == from.Artifact
	if same {
		sb.saved.onDisk = true
	}
	sb.mu.Unlock()
	if !same {
		return nil // resumed or killed meanwhile
	}
	return o.saveView(sb)
}

// A disk that refused a snapshot is left alone for sealRetry, sealTries times.
const (
	sealTries = 3
	sealRetry = 5 * time.Second
)

// cool ends the guest of a resting sandbox.
func (o *Orchestrator) cool(ctx context.Context, sb *sandbox) {
	sb.mu.Lock()
	keeping := sb.keeping
	sb.mu.Unlock()
	if keeping != nil {
		<-keeping // before the transition: a resume must not wait for it
	}
	t, own, err := sb.begin(ctx, shoal.StatePaused, func(state shoal.State) error {
		if state != shoal.StatePaused || sb.guest == nil || sb.keeping != keeping { // or paused anew
			return shoal.ErrSandboxState.New("Sandbox %q does not rest", sb.id)
		}
		return nil
	})
	if err != nil {
		return // resumed, killed or cooled meanwhile
	}
	if !own {
		_ = t.wait(ctx)
		return
	}
	if err := o.stopGuest(ctx, sb); err != nil {
		o.log.Error("something of a paused sandbox's guest is left", "sandbox", sb.id, "error", err)
	}
	sb.end(t, shoal.StatePaused, nil)
}

// coolFor makes room in memory: the guests that rest longest end first, until
// their memory limits sum up to at least need bytes.
func (o *Orchestrator) coolFor(ctx context.Context, need int64) {
	for need > 0 {
		var oldest *sandbox
		var since time.Time
		for _, sb := range o.all() {
			if until := sb.resting(); !until.IsZero() && (oldest == nil || until.Before(since)) {
				oldest, since = sb, until
			}
		}
		if oldest == nil {
			return
		}
		need -= oldest.snapshotView().Resources.MemoryMB << 20
		o.cool(ctx, oldest)
	}
}

// resting is until when the sandbox rests; zero if it does not.
func (s *sandbox) resting() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view.State != shoal.StatePaused || s.guest == nil || s.current != nil {
		return time.Time{}
	}
	return s.restUntil
}
