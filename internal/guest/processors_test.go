package guest

import (
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"shoal/internal/runtime"
)

// worker is a guest that uses the processors as a test says.
type worker struct {
	runtime.Guest // nil: nothing else is asked of it
	used          time.Duration
	yields        bool
	err           error
}

func (w *worker) CPUTime() time.Duration { return w.used }

func (w *worker) Yield(yields bool) error {
	w.yields = yields
	return w.err
}

// shared is processors that tests give out.
type shared struct {
	t *testing.T
	processors
	guests []*Guest
	now    time.Time
	all    procfs.CPUStat
}

func newShared(t *testing.T, workers ...*worker) *shared {
	s := &shared{t: t, now: time.Now(), processors: processors{uses: map[*Guest]*use{}}}
	for _, w := range workers {
		s.guests = append(s.guests, &Guest{running: w})
	}
	s.running = func() []*Guest { return s.guests }
	return s
}

// pass lets time pass on a machine with two processors, of which others than the guests
// use so many, and each guest as many as are stated.
func (s *shared) pass(d time.Duration, others float64, each ...float64) {
	s.t.Helper()
	for ; d > 0; d -= sharePeriod {
		s.now = s.now.Add(sharePeriod)
		sum := others
		for n, g := range s.guests {
			g.running.(*worker).used += seconds(each[n] * sharePeriod.Seconds())
			sum += each[n]
		}
		s.all.User += sum * sharePeriod.Seconds()
		s.all.Idle += (2 - sum) * sharePeriod.Seconds()
		if err := s.look(s.now, s.all); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *shared) want(when string, yields ...bool) {
	s.t.Helper()
	for n, g := range s.guests {
		if got := g.running.(*worker).yields; got != yields[n] {
			s.t.Errorf("%s guest %d yields: %v", when, n, got)
		}
	}
}

// TestWhoYields: while the processors are contended, whoever takes them for itself yields,
// and whoever uses a little does not.
func TestWhoYields(t *testing.T) {
	s := newShared(t, new(worker), new(worker), new(worker))
	s.pass(time.Second, 0.5, 0, 0, 0)
	s.pass(200*time.Millisecond, 0.1, 1.8, 0.1, 0)
	s.want("after a short burst", false, false, false)
	s.pass(500*time.Millisecond, 0.1, 1.8, 0.1, 0)
	s.want("in a flood", true, false, false)
	s.pass(3*time.Second, 0.1, 0.9, 0.9, 0.1)
	s.want("with another that takes as much", true, true, false)
	s.pass(3*time.Second, 0.5, 0.1, 1.3, 0.1)
	s.want("while it gets little", true, true, false)
	s.pass(20*time.Second, 0.5, 0.1, 1.3, 0.1)
	s.want("after it has wanted little for long", false, true, false)
	s.pass(500*time.Millisecond, 0, 0, 0.5, 0)
	s.want("right after", false, true, false)
	s.pass(2*time.Second, 0, 0, 1.1, 0)
	s.want("while a processor is free", false, false, false)
}

// TestEndedGuestsAreForgotten: a guest that ends meanwhile disturbs nobody.
func TestEndedGuestsAreForgotten(t *testing.T) {
	s := newShared(t, &worker{err: runtime.ErrGone}, new(worker))
	s.pass(2*time.Second, 0, 1, 1)
	s.want("both", true, true)
	s.guests = s.guests[1:]
	s.pass(time.Second, 0, 2)
	if len(s.uses) != 1 {
		t.Errorf("%d guests are remembered", len(s.uses))
	}
}
