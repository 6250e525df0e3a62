package shares

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestTurns(t *testing.T) {
	var turns Turns
	var wg sync.WaitGroup
	inside := 0
	for range 50 {
		wg.Go(func() {
			done, err := turns.Take(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer done()
			if inside++; inside != 1 {
				t.Errorf("%d have the turn", inside)
			}
			inside--
		})
	}
	wg.Wait()
	done, ok := turns.TryTake("a")
	if !ok {
		t.Fatal("a free turn is not given")
	}
	if _, ok := turns.TryTake("a"); ok {
		t.Error("two have the turn")
	}
	if other, ok := turns.TryTake("b"); !ok {
		t.Error("another name waits")
	} else {
		other()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.Take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	done()
	if n := turns.Open(); n != 0 {
		t.Errorf("%d names are kept", n)
	}
}
