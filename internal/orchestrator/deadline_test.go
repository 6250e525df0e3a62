package orchestrator

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestOneEndOfARest: while a snapshot is on its way to the disk, one goroutine waits to end the
// guest that rests, however often deadlines are looked at, and looks again afterwards.
func TestOneEndOfARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &Config{}
		o := &Orchestrator{cfg: cfg, tasks: newTasks(), table: newTable(cfg), wake: make(chan struct{}, 1)}
		o.pauses = &pauses{cfg: cfg, table: o.table, tasks: o.tasks}
		keeping := make(chan struct{})
		sb := &sandbox{id: "i1", view: shoal.Sandbox{State: shoal.StatePaused}, guest: &guest.Guest{},
			saved: &snapshot.Saved{}, restUntil: time.Now(), keeping: keeping}
		o.table.add(sb)
		before := runtime.NumGoroutine()
		for range 100 {
			time.Sleep(time.Millisecond)
			o.expireDue()
			synctest.Wait()
		}
		if n := runtime.NumGoroutine() - before; n != 1 {
			t.Errorf("%d wait for the snapshot", n)
		}
		// It is resumed meanwhile, so that there is nothing to end.
		sb.mu.Lock()
		sb.view.State, sb.view.EndAt, sb.keeping = shoal.StateRunning, time.Now().Add(time.Hour), nil
		sb.mu.Unlock()
		close(keeping)
		synctest.Wait()
		if sb.expiryNow() != (expiry{}) || len(o.wake) != 1 {
			t.Errorf("%+v, %d nudges", sb.expiryNow(), len(o.wake))
		}
		o.tasks.Wait()
	})
}

func (s *sandbox) expiryNow() expiry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry
}
