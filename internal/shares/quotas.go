package shares

import (
	"context"
	"sync"
	"time"
)

// Rate is how much may be taken: so much a second, and so much at once.
type Rate struct {
	PerSecond, Burst float64
}

// Allowance is what somebody who has asked for more gets of their rate.
type Allowance struct {
	Granted bool
	Left    int           // what they may take now besides
	Full    time.Duration // until they may take the whole burst
	Wait    time.Duration // until they may take what they were refused
}

// Quotas holds each taker to a rate of its own, in the memory of this process. Those that have used
// nothing lately are forgotten.
type Quotas struct {
	// Takers bounds how many are told apart. Beyond it, one that has used little is forgotten, and
	// so has its whole burst again.
	Takers int

	mu     sync.Mutex // guards the rest; a leaf
	takers map[string]*quota
}

// quota is what one taker may take now.
type quota struct {
	rate  Rate
	level float64
	at    time.Time // when level was right
}

// Take asks for n of a taker's rate, which may be another one each time. What is more than the burst
// is granted when the whole burst is there, and waited for by those who come next.
func (q *Quotas) Take(_ context.Context, taker string, n int, rate Rate) Allowance {
	return q.takeAt(taker, n, rate, time.Now())
}

// Give gives n back that turned out not to count.
func (q *Quotas) Give(_ context.Context, taker string, n int, rate Rate) {
	q.takeAt(taker, -n, rate, time.Now())
}

func (q *Quotas) takeAt(taker string, n int, rate Rate, now time.Time) Allowance {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := q.of(taker, rate, now)
	own.rate = rate
	own.fill(now)
	granted := own.level >= min(float64(n), rate.Burst)
	if granted {
		own.level = min(own.level-float64(n), rate.Burst)
	}
	return rate.Allow(granted, own.level, n)
}

// Allow is what somebody gets who has asked for n, and has so much left.
func (r Rate) Allow(granted bool, level float64, n int) Allowance {
	a := Allowance{Granted: granted, Left: max(0, int(level)), Full: r.time(r.Burst - level)}
	if !granted {
		a.Wait = r.time(min(float64(n), r.Burst) - level)
	}
	return a
}

// of returns a taker's quota; q.mu is held.
func (q *Quotas) of(taker string, rate Rate, now time.Time) *quota {
	if own := q.takers[taker]; own != nil {
		return own
	}
	if q.takers == nil {
		q.takers = map[string]*quota{}
	}
	q.makeRoom(now)
	own := &quota{rate: rate, level: rate.Burst, at: now}
	q.takers[taker] = own
	return own
}

// seenByNew is how many others are looked at for each taker that comes: enough that they go faster
// than others come, and few enough that it costs nothing.
const seenByNew = 8

// makeRoom forgets some takers that have their whole burst, as somebody unknown has it too. If there
// are as many as may be, one goes in any case, of some the one with the largest part of its burst.
func (q *Quotas) makeRoom(now time.Time) {
	seen, most, fullest := 0, -1.0, ""
	for taker, own := range q.takers {
		if seen++; seen > seenByNew {
			break
		}
		own.fill(now)
		if own.level >= own.rate.Burst {
			delete(q.takers, taker)
		} else if part := own.level / own.rate.Burst; fullest == "" || part > most {
			most, fullest = part, taker
		}
	}
	if len(q.takers) >= q.Takers {
		delete(q.takers, fullest)
	}
}

func (q *quota) fill(now time.Time) {
	if passed := now.Sub(q.at).Seconds(); passed > 0 {
		q.level += passed * q.rate.PerSecond
		q.at = now
	}
	q.level = min(q.level, q.rate.Burst)
}

// time is how long so much takes to come.
func (r Rate) time(amount float64) time.Duration {
	return time.Duration(max(0, amount) / r.PerSecond * float64(time.Second)).Round(time.Microsecond)
}
