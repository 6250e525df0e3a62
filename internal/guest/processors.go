package guest

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/procfs"

	"shoal/internal/runtime"
)

// Guests that want a little of the processors now and then, as one in which somebody types
// does, come before guests that take all they can get. Shares alone do not see to that: the
// host's scheduler counts what threads use, not how long they wait in a row.

const (
	sharePeriod = 100 * time.Millisecond // between looks
	// contended is the part of the machine's processor time above which somebody may wait.
	contended = 0.6
	// A guest's use is its mean over about riseTime when it grows, and over about fallTime
	// when it shrinks, since a guest that yields may use little because it gets little.
	riseTime = time.Second
	fallTime = 5 * time.Second
	// A guest yields that uses more processors than much and at least half of what the guest
	// uses that uses most, until it uses less than half of either.
	much = 0.5
)

// processors makes guests yield. One goroutine runs it.
type processors struct {
	running func() []*Guest
	machine meter // of time that the processors were used, in time that they had
	uses    map[*Guest]*use
	calm    time.Time // since when there has been no contention; zero if there is
}

// meter tells how much something has grown beside something else that grows.
type meter struct{ part, whole time.Duration }

// read takes the present values, and returns the growth of part by that of whole, and the
// latter, since the last call.
func (m *meter) read(part, whole time.Duration) (ratio float64, grown time.Duration) {
	last := *m
	*m = meter{part, whole}
	if grown = whole - last.whole; grown <= 0 {
		return 0, 0
	}
	return float64(part-last.part) / float64(grown), grown
}

// use is how much of the processors a guest has used lately.
type use struct {
	meter
	mean   float64 // processors
	yields bool
}

func (u *use) add(processors float64, over time.Duration) {
	span := riseTime
	if processors < u.mean {
		span = fallTime
	}
	u.mean += (processors - u.mean) * (1 - math.Exp(-float64(over)/float64(span)))
}

// shouldYield tells whether a guest yields from now on, if the one that uses most uses so much.
func (u *use) shouldYield(greatest float64) bool {
	if u.yields {
		return u.mean >= much/2 && u.mean >= greatest/4
	}
	return u.mean > much && u.mean >= greatest/2
}

// ShareProcessors lets guests yield that take the processors for themselves, until ctx ends.
// It does nothing where the host cannot tell or do that.
func (h *Host) ShareProcessors(ctx context.Context, log *slog.Logger) error {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return err
	}
	p := &processors{running: h.running.all, uses: map[*Guest]*use{}}
	tick := time.NewTicker(sharePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		stat, err := proc.Stat()
		if err == nil {
			err = p.look(time.Now(), stat.CPUTotal)
		}
		if err != nil {
			log.Warn("guests that take the processors for themselves do not yield", "error", err)
			return nil
		}
	}
}

// look measures and acts. Its error is lasting.
func (p *processors) look(now time.Time, all procfs.CPUStat) error {
	used := all.User + all.Nice + all.System + all.IRQ + all.SoftIRQ + all.Steal
	part, _ := p.machine.read(seconds(used), seconds(used+all.Idle+all.Iowait))
	if part >= contended {
		p.calm = time.Time{}
		return p.judge(now)
	}
	if p.calm.IsZero() {
		p.calm = now
	}
	if now.Sub(p.calm) > riseTime {
		return p.release()
	}
	return nil
}

// judge looks at every guest, and lets those yield that should.
func (p *processors) judge(now time.Time) error {
	all, greatest := map[*Guest]*use{}, 0.0
	for _, g := range p.running() {
		u, known := p.uses[g]
		if !known {
			u = &use{}
		}
		if used, over := u.read(g.running.CPUTime(), time.Duration(now.UnixNano())); known {
			u.add(used, over)
		}
		all[g] = u
		greatest = max(greatest, u.mean)
	}
	p.uses = all
	for g, u := range all {
		if err := u.set(g, u.shouldYield(greatest)); err != nil {
			return err
		}
	}
	return nil
}

func (u *use) set(g *Guest, yields bool) error {
	if yields == u.yields {
		return nil
	}
	u.yields = yields
	if err := g.running.Yield(yields); err != nil && !errors.Is(err, runtime.ErrGone) {
		return err
	}
	return nil
}

// release lets nobody yield any more, and forgets.
func (p *processors) release() error {
	for g, u := range p.uses {
		if err := u.set(g, false); err != nil {
			return err
		}
	}
	clear(p.uses)
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
