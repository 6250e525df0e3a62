package shares

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestQuotas(t *testing.T) {
	q := Quotas{Takers: 10}
	now := time.Unix(1, 0)
	take := func(taker string, n int, rate Rate, want Allowance) {
		t.Helper()
		if got := q.takeAt(taker, n, rate, now); got != want {
			t.Errorf("%s takes %d: %+v, want %+v", taker, n, got, want)
		}
	}
	rate, faster := Rate{PerSecond: 2, Burst: 4}, Rate{PerSecond: 10, Burst: 20}
	take("a", 1, rate, Allowance{Granted: true, Left: 3, Full: 500 * time.Millisecond})
	take("a", 4, rate, Allowance{Left: 3, Full: 500 * time.Millisecond, Wait: 500 * time.Millisecond})
	take("a", 3, rate, Allowance{Granted: true, Left: 0, Full: 2 * time.Second})
	take("a", 1, rate, Allowance{Full: 2 * time.Second, Wait: 500 * time.Millisecond})
	take("b", 4, rate, Allowance{Granted: true, Full: 2 * time.Second}) // another one's is its own
	now = now.Add(499 * time.Millisecond)
	take("a", 1, rate, Allowance{Full: 1501 * time.Millisecond, Wait: time.Millisecond})
	now = now.Add(2 * time.Millisecond)
	take("a", 1, rate, Allowance{Granted: true, Full: 1999 * time.Millisecond})
	now = now.Add(time.Hour)
	take("a", 1, rate, Allowance{Granted: true, Left: 3, Full: 500 * time.Millisecond}) // no more than the burst
	take("a", 1, faster, Allowance{Granted: true, Left: 2, Full: 1800 * time.Millisecond})
	take("c", 9, rate, Allowance{Granted: true, Full: 4500 * time.Millisecond}) // more than there ever is
	take("c", 1, rate, Allowance{Full: 4500 * time.Millisecond, Wait: 3 * time.Second})
	take("b", -9, rate, Allowance{Granted: true, Left: 4}) // given back
}

// TestQuotasForget: those who come and go leave nothing, and one who takes all is not forgiven for
// others who come.
func TestQuotasForget(t *testing.T) {
	q := Quotas{Takers: 100}
	now := time.Unix(1, 0)
	rate := Rate{PerSecond: 1, Burst: 10}
	q.takeAt("greedy", 10, rate, now)
	for i := range 1000 {
		if a := q.takeAt(fmt.Sprint("other ", i), 1, rate, now); !a.Granted || len(q.takers) > 100 {
			t.Fatalf("taker %d: %+v, of %d", i, a, len(q.takers))
		}
	}
	if a := q.takeAt("greedy", 1, rate, now); a.Granted {
		t.Error("the one that has used most was forgotten")
	}
	now = now.Add(time.Hour)
	for i := range 100 {
		q.takeAt(fmt.Sprint("late ", i), 1, rate, now)
	}
	for taker := range q.takers {
		if taker[0] != 'l' {
			t.Errorf("%s is kept after an hour", taker)
		}
	}
}

func TestQuotasAtOnce(t *testing.T) {
	q := Quotas{Takers: 10}
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if q.Take(t.Context(), "a", 1, Rate{PerSecond: 1e-9, Burst: 50}).Granted {
					granted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if granted.Load() != 50 {
		t.Errorf("%d were granted, of 50", granted.Load())
	}
}

func BenchmarkQuotas(b *testing.B) {
	q := Quotas{Takers: 20_000}
	for i := range 20_000 {
		q.Take(b.Context(), fmt.Sprint(i), 1, Rate{PerSecond: 1e-9, Burst: 10})
	}
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			q.Take(b.Context(), "17", 1, Rate{PerSecond: 1e9, Burst: 1e9})
		}
	})
	b.Run("new", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			q.Take(b.Context(), fmt.Sprint("new ", i), 1, Rate{PerSecond: 1e-9, Burst: 10})
		}
	})
}
