package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// warmGuests is how many guests the installation of this group starts ahead.
const warmGuests = 20

// warmPrefix begins the IDs of guests that were started ahead, also when they have a sandbox.
const warmPrefix = "warm-"

// benchFrozen measures the private memory of guests that were started ahead.
func benchFrozen(ctx context.Context, b *bench, s *server) error {
	if err := s.awaitWarm(ctx); err != nil {
		return err
	}
	var frozen int64
	for _, group := range guestGroups(warmPrefix + "*") {
		frozen += privateOf(group)
	}
	b.add(figure{Name: fmt.Sprintf("frozen private memory, each of %d", warmGuests), Unit: "MiB",
		Ours: float64(frozen) / warmGuests / (1 << 20)})
	return nil
}

// benchFirst measures creates that find a warm guest, with pauses in between.
func benchFirst(ctx context.Context, b *bench, s *server) error {
	if err := s.awaitWarm(ctx); err != nil {
		return err
	}
	var first times
	for range min(b.Rounds, warmGuests) {
		sb, took, err := s.createAndRun(ctx, "true")
		if err != nil {
			return err
		}
		first = append(first, took)
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
		if err := rest(ctx, aftermath); err != nil {
			return err
		}
	}
	b.compare("create of a warm guest, first command done", first, nil, "", atMost(30))
	b.add(figure{Name: "the same, 95th percentile", Unit: "ms", Ours: first.p95()}, atMost(80))
	return nil
}

// aftermath is how long the machine is busy cleaning up after a killed sandbox. It must not
// count toward the next create.
const aftermath = 100 * time.Millisecond

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

const burstRounds = 3

// benchBurst creates as many sandboxes at once as there are warm guests.
func benchBurst(ctx context.Context, b *bench, s *server) error {
	all, host, _, err := s.bursts(ctx, b, false)
	if err != nil {
		return err
	}
	b.compare(fmt.Sprintf("burst of %d creates, full pool", warmGuests), all, host, ofHost+", as many at once",
		p95AtMost(150))
	b.add(figure{Name: fmt.Sprintf("burst of %d creates, 95th percentile", warmGuests), Unit: "ms",
		Ours: all.p95()}, atMost(400))
	return nil
}

// benchBurstEmpty does the same when the pool has just been emptied.
func benchBurstEmpty(ctx context.Context, b *bench, s *server) error {
	all, host, worked, err := s.bursts(ctx, b, true)
	if err != nil {
		return err
	}
	b.compare(fmt.Sprintf("burst of %d creates, empty pool", warmGuests), all, host, ofHost+", as many at once",
		p95AtMost(900))
	b.compare("processors' time for each of them", worked, nil, "")
	return nil
}

// bursts times the creates of bursts, and as many shells at once on the host after each. What the
// processors worked is for one create.
func (s *server) bursts(ctx context.Context, b *bench, fromEmpty bool) (all, host, worked times, err error) {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return nil, nil, nil, err
	}
	for range burstRounds {
		if err := s.awaitWarm(ctx); err != nil {
			return nil, nil, nil, err
		}
		var taken boxes
		if fromEmpty {
			if taken, _, err = s.drain(ctx); err != nil {
				return nil, nil, nil, err
			}
		}
		var made boxes
		var burst times
		err = worked.worked(warmGuests, func() (err error) {
			made, burst, err = s.createAtOnce(ctx, warmGuests, "")
			return err
		})
		if err != nil {
			return nil, nil, nil, err
		}
		all = append(all, burst...)
		if err := s.killAll(ctx, append(taken, made...)); err != nil {
			return nil, nil, nil, err
		}
		shells, err := atOnce(warmGuests, func(int) error { return twin.shell(ctx) })
		if err != nil {
			return nil, nil, nil, err
		}
		host = append(host, shells...)
	}
	return all, host, worked, nil
}

// drain creates sandboxes until one does not get a warm guest, and times that create.
func (s *server) drain(ctx context.Context) (taken boxes, beyond time.Duration, err error) {
	for range 3 * warmGuests {
		begin := time.Now()
		sb, err := s.create(ctx)
		if err != nil {
			return taken, 0, err
		}
		took := time.Since(begin)
		taken = append(taken, sb)
		guest, err := s.guestOf(sb)
		if err != nil {
			return taken, 0, err
		}
		if !strings.HasPrefix(guest, warmPrefix) {
			return taken, took, nil
		}
	}
	return taken, 0, errors.New("the pool is filled faster than it can be emptied")
}

// atOnce calls do n times at once, with a number from 0, and times each call.
func atOnce(n int, do func(int) error) (times, error) {
	took := make(times, n)
	var all errgroup.Group
	for i := range n {
		all.Go(func() error {
			begin := time.Now()
			err := do(i)
			took[i] = time.Since(begin)
			return err
		})
	}
	return took, all.Wait()
}

// createAtOnce creates n sandboxes at once, and times each until it has run the command, if
// there is one.
func (s *server) createAtOnce(ctx context.Context, n int, command string) (boxes, times, error) {
	made := make(boxes, n)
	took, err := atOnce(n, func(i int) (err error) {
		if made[i], err = s.create(ctx); err != nil || command == "" {
			return err
		}
		_, err = s.command(ctx, made[i], command)
		return err
	})
	return made, took, err
}

// benchEmptyPool compares a create that finds the pool empty with a create where there is
// no pool.
func benchEmptyPool(ctx context.Context, b *bench, s *server) error {
	var beyond times
	for range 5 {
		if err := s.awaitWarm(ctx); err != nil {
			return err
		}
		taken, took, err := s.drain(ctx)
		if err != nil {
			return err
		}
		beyond = append(beyond, took)
		if err := s.killAll(ctx, taken); err != nil {
			return err
		}
	}
	of := ""
	if b.cold != nil {
		of = "create where there is no pool"
	}
	b.compare("create that finds the pool empty", beyond, b.cold, of)
	return nil
}

// awaitWarm waits until the pool is full and idle.
func (s *server) awaitWarm(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(guestGroups(warmPrefix+"*")) < warmGuests {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	// The kernels free what their boot left 2 s after their start.
	return rest(ctx, 3*time.Second)
}

// benchResting measures the resume of a guest that still rests.
func benchResting(ctx context.Context, b *bench, s *server) error {
	var rested times
	for n := range b.Rounds + 1 {
		_, back, err := s.pauseAndResume(ctx, dirty{name: "idle"}, false)
		if err != nil {
			return err
		}
		if n > 0 {
			rested = append(rested, back)
		}
	}
	b.compare("resume of a resting sandbox", rested, nil, "", atMost(20))
	return nil
}

const (
	forks      = 10
	forkRounds = 5
)

// benchFork measures forks, and as many shells at once on the host after each.
func benchFork(ctx context.Context, b *bench, s *server) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	var all, host, worked times
	for range forkRounds {
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		var made []struct{ Sandbox sandbox }
		begin := time.Now()
		if err := worked.worked(1, func() error {
			return s.call(ctx, "POST", "/sandboxes/"+sb.ID+"/fork",
				fmt.Sprintf(`{"count":%d,"timeout":600}`, forks), 201, &made)
		}); err != nil {
			return err
		}
		all = append(all, time.Since(begin))
		if len(made) != forks {
			return fmt.Errorf("%d of %d forks were made", len(made), forks)
		}
		copies := boxes{sb}
		for _, m := range made {
			if err := awaitHealth(ctx, m.Sandbox.URL); err != nil {
				return err
			}
			copies = append(copies, m.Sandbox)
		}
		if err := s.killAll(ctx, copies); err != nil {
			return err
		}
		begin = time.Now()
		if _, err := atOnce(forks, func(int) error { return twin.shell(ctx) }); err != nil {
			return err
		}
		host = append(host, time.Since(begin))
	}
	b.compare(fmt.Sprintf("fork × %d, all of them answering", forks), all, host,
		ofHost+", as many at once", atMost(600))
	b.compare("processors' time for it", worked, nil, "")
	return nil
}
