package orchestrator

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"shoal/internal/shoal"
)

// fillBy has a filler answer until the test ends, or stop is called; it returns when it is there.
func fillBy(t *testing.T, o *fillers, answer func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	before := o.count()
	go func() {
		defer close(done)
		_ = o.Fills(ctx, answer)
	}()
	for o.count() == before {
		runtime.Gosched()
	}
	return func() { cancel(); <-done }
}

func (f *fillers) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.list)
}

// TestFillAsksTheNextFiller: one that is gone is not asked again, and without any the error comes at
// once.
func TestFillAsksTheNextFiller(t *testing.T) {
	o := &fillers{}
	p := shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: "a"}
	if _, err := o.Fill(t.Context(), "i", "d", nil); !shoal.ErrFillUnavailable.Matches(err) {
		t.Errorf("without a filler: %v", err)
	}
	asked := 0
	stopFirst := fillBy(t, o, func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error) {
		asked++
		return nil, shoal.ErrFillerGone
	})
	defer stopFirst()
	stop := fillBy(t, o, func(_ context.Context, f shoal.Fill) (map[shoal.Placeholder]string, error) {
		if f.SandboxID == "irefused" {
			return nil, shoal.ErrFillRefused.New("no")
		}
		return map[shoal.Placeholder]string{f.Wanted[0]: f.SandboxID + f.Domain}, nil
	})
	for range 2 {
		got, err := o.Fill(t.Context(), "i", "d", []shoal.Placeholder{p})
		if err != nil || got[p] != "id" {
			t.Errorf("%v, %v", got, err)
		}
	}
	if asked != 1 {
		t.Errorf("a filler that is gone was asked %d times", asked)
	}
	if _, err := o.Fill(t.Context(), "irefused", "d", nil); !shoal.ErrFillRefused.Matches(err) {
		t.Error(err)
	}
	stop()
	if _, err := o.Fill(t.Context(), "i", "d", nil); !shoal.ErrFillUnavailable.Matches(err) {
		t.Errorf("when all are gone: %v", err)
	}
}

// TestFillIsBounded: a filler that does not answer keeps nobody longer than they wait.
func TestFillIsBounded(t *testing.T) {
	o := &fillers{}
	stop := fillBy(t, o, func(ctx context.Context, _ shoal.Fill) (map[shoal.Placeholder]string, error) {
		<-t.Context().Done()
		return nil, nil
	})
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Fill(ctx, "i", "d", nil); !shoal.ErrFillUnavailable.Matches(err) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
