package fleet

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// TestSyncsAreShared: however many requests come at the limit, the machines list little, and
// each sees what has ended before it.
func TestSyncsAreShared(t *testing.T) {
	n := fleettest.New("a", build)
	f := newFleet(t, n)
	sb, err := f.Place(t.Context(), spec("t1"), atOnce(1))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = n.Asked()
	begin := time.Now()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := f.Place(t.Context(), spec("t1"), atOnce(1)); !shoal.ErrConcurrencyLimit.Matches(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, lists := n.Asked(); lists > 2+int(time.Since(begin)/syncSpacing) {
		t.Errorf("%d lists", lists)
	}
	n.Drop(sb.SandboxID)
	if _, err := f.Place(t.Context(), spec("t1"), atOnce(1)); err != nil {
		t.Errorf("after the end of the only one: %v", err)
	}
}

// TestForkSyncsOnce: copies beyond the limit share one look at the machines.
func TestForkSyncsOnce(t *testing.T) {
	n := fleettest.New("a", build)
	f := newFleet(t, n)
	sb, err := f.Place(t.Context(), spec("t1"), atOnce(9))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = n.Asked()
	specs := make([]shoal.Spec, 100)
	for i := range specs {
		specs[i] = spec("t1")
	}
	results, err := f.Fork(t.Context(), n, sb.SandboxID, specs, atOnce(9))
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, r := range results {
		if r.Err == nil {
			started++
		} else if !shoal.ErrConcurrencyLimit.Matches(r.Err) {
			t.Error(r.Err)
		}
	}
	if _, lists := n.Asked(); lists != 1 || started != 8 {
		t.Errorf("%d lists, %d started", lists, started)
	}
}

// TestSyncHeedsItsCaller: who cannot wait for a slow machine does not, and the sync goes on for
// those who can.
func TestSyncHeedsItsCaller(t *testing.T) {
	n := fleettest.New("a", build)
	f := newFleet(t, n)
	let, listing := make(chan struct{}), make(chan struct{}, 9)
	n.OnList(func(context.Context) {
		listing <- struct{}{}
		<-let
	})
	patient := make(chan error, 2)
	go func() { patient <- f.Sync(t.Context()) }()
	<-listing
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := f.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	go func() { patient <- f.Sync(t.Context()) }()
	close(let)
	for range 2 {
		if err := <-patient; err != nil {
			t.Error(err)
		}
	}
}

// TestRunEndsItsSync: nothing of a fleet is at work when Run has returned.
func TestRunEndsItsSync(t *testing.T) {
	n := fleettest.New("a", build)
	f := New(Config{Nodes: []shoal.Node{n}}, discard)
	listing, ended := make(chan struct{}, 1), make(chan struct{})
	n.OnList(func(ctx context.Context) {
		listing <- struct{}{}
		<-ctx.Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	<-listing
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	default:
		t.Error("a machine is still being asked")
	}
}

// TestNoSyncBeginsAfterRun: who waits for the next sync when a fleet ends is told so at once, and
// so is who comes later. No machine is asked any more.
func TestNoSyncBeginsAfterRun(t *testing.T) {
	n := fleettest.New("a", build)
	f := New(Config{Nodes: []shoal.Node{n}}, discard)
	listing := make(chan struct{}, 9)
	n.OnList(func(ctx context.Context) {
		listing <- struct{}{}
		<-ctx.Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	<-listing
	next := f.syncs.join() // that of somebody who waits for the one after it
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case <-next.done:
	default:
		t.Fatal("Run has returned, and a sync is to begin")
	}
	if !shoal.ErrUnavailable.Matches(next.err) {
		t.Errorf("the one that waited: %v", next.err)
	}
	if err := f.Sync(t.Context()); !shoal.ErrUnavailable.Matches(err) {
		t.Errorf("a later one: %v", err)
	}
	if len(listing) != 0 {
		t.Error("a machine was asked again")
	}
}
