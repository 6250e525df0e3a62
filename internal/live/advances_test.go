package live

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/live/livetest"
	"shoal/internal/shares"
)

// ordinary is a rate of which something is taken ahead.
var ordinary = shares.Rate{PerSecond: 100, Burst: 1000}

// TestAdvances: two apis, each asked by many at once, grant a burst and what comes back of it, no more,
// and no less than what one of them may have ahead.
func TestAdvances(t *testing.T) {
	server := livetest.Start(t)
	a, b := open(t, Config{URL: server.URL()}), open(t, Config{URL: server.URL()})
	begin := time.Now()
	var granted atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := 0; []*Redis{a, b}[i%2].Take(t.Context(), "x", 1, ordinary).Granted; n++ {
				if granted.Add(1); n > 100_000 {
					t.Error("there is no end of it")
					return
				}
			}
		})
	}
	all.Wait()
	most := ordinary.Burst + ordinary.PerSecond*time.Since(begin).Seconds() + 1
	least := ordinary.Burst - 2*ordinary.Burst*advancePart
	if n := float64(granted.Load()); n > most || n < least {
		t.Errorf("%.0f were granted, want from %.0f to %.0f", n, least, most)
	}
}

// TestAdvancesAskLess: while much is left, few calls wait for Redis, and they are told what is left.
func TestAdvancesAskLess(t *testing.T) {
	server := livetest.Start(t)
	r := open(t, Config{URL: server.URL()})
	before := scripts(t, server)
	const calls = 400
	for i := range calls {
		a := r.Take(t.Context(), "x", 1, ordinary)
		if !a.Granted || a.Left < int(ordinary.Burst)-i-1 || a.Left >= int(ordinary.Burst) {
			t.Errorf("call %d: %+v", i, a)
		}
	}
	if n := scripts(t, server) - before; n > calls/2 {
		t.Errorf("%d scripts for %d calls", n, calls)
	}
}

// TestAdvancesChange: what was taken ahead is not granted at another rate, nor after its time, and one
// caller at a time asks for more.
func TestAdvancesChange(t *testing.T) {
	var s advances
	now := time.Unix(1e9, 0)
	if _, ok, ahead := s.take("x", ordinary, now); ok || ahead != 5 {
		t.Errorf("the first: %t, %d", ok, ahead)
	}
	if _, ok, ahead := s.take("x", ordinary, now); ok || ahead != 0 {
		t.Errorf("beside it: %t, %d", ok, ahead)
	}
	s.put("x", ordinary, 5, 500, now)
	if a, ok, _ := s.take("x", ordinary, now); !ok || !a.Granted || a.Left != 504 {
		t.Errorf("ahead: %+v, %t", a, ok)
	}
	if _, ok, ahead := s.take("x", shares.Rate{PerSecond: 200, Burst: 2000}, now); ok || ahead != 10 {
		t.Errorf("another rate: %t, %d", ok, ahead)
	}
	s.put("x", ordinary, 5, 500, now)
	if _, ok, ahead := s.take("x", ordinary, now.Add(advanceTime)); ok || ahead != 5 {
		t.Errorf("later: %t, %d", ok, ahead)
	}
	s.put("x", ordinary, 0, 0, now)
	if len(s.of) > 0 {
		t.Error("nothing is kept")
	}
	if _, ok, ahead := s.take("x", slow, now); ok || ahead != 0 {
		t.Errorf("a small rate: %t, %d", ok, ahead)
	}
	for i := range maxTakers + 10 {
		if _, _, ahead := s.take(fmt.Sprint(i), ordinary, now); ahead > 0 {
			s.put(fmt.Sprint(i), ordinary, 5, 500, now)
		}
	}
	if len(s.of) != maxTakers {
		t.Errorf("%d are kept", len(s.of))
	}
	if _, _, ahead := s.take("new", ordinary, now.Add(advanceTime)); ahead != 5 || len(s.of) != 1 {
		t.Errorf("after their time %d are kept", len(s.of))
	}
}

// scripts is how many scripts a server has run.
func scripts(t *testing.T, server *livetest.Redis) int {
	t.Helper()
	text, err := server.Client().Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "cmdstat_evalsha:calls=")
	number, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
