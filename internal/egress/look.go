package egress

import (
	"context"
	"net/http"
	"sync"
	"time"

	"shoal/internal/shoal"
)

// A process that is there and does not answer would keep its sandboxes from everything for as long
// as it is there. So all processes are asked again and again, which brings their counts too, and
// one that is silent for too long is ended; then another takes its place as if it had ended itself.

const (
	// defaultPatience is how long a process may be silent while it is asked. Processes answer at once;
	// one that is starved of processors for as long has given its sandboxes nothing either.
	defaultPatience = 15 * time.Second
	// tries is how many questions that is. One alone may go unanswered because the machine, with this
	// process, stood still.
	tries = 3
	// stackTime is how long a hung process may take to write what its goroutines wait for.
	stackTime = time.Second
)

func (c *StewardConfig) patience() time.Duration {
	if c.Patience > 0 {
		return c.Patience
	}
	return defaultPatience
}

// look asks all processes again and again, until ctx ends.
func (s *Steward) look(ctx context.Context) {
	tick := time.NewTicker(s.cfg.patience() / tries)
	defer tick.Stop()
	for {
		s.Collect(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Collect asks all processes how they are and for what they have counted, and brings the records
// to where they are kept. It ends those that have been silent for too long.
func (s *Steward) Collect(ctx context.Context) {
	if list := s.counts.take(); len(list) > 0 {
		s.keep(ctx, list)
	}
	var each sync.WaitGroup
	for _, p := range s.all() {
		each.Go(func() {
			asking, cancel := context.WithTimeout(ctx, s.cfg.patience()/tries)
			defer cancel()
			if _, err := p.state(asking); err != nil {
				s.suspect(ctx, p, err)
				return
			}
			p.silent.Store(0)
			s.collectFrom(ctx, p)
		})
	}
	each.Wait()
}

// all lists the processes. It does not wait for mu, which who asks a process that hangs has.
func (s *Steward) all() []*process {
	if list := s.listed.Load(); list != nil {
		return *list
	}
	return nil
}

// publishLocked has all list the processes that there are now.
func (s *Steward) publishLocked() {
	list := s.allLocked()
	s.listed.Store(&list)
}

func (s *Steward) collectFrom(ctx context.Context, p *process) {
	asking, cancel := context.WithTimeout(ctx, s.cfg.patience()/tries)
	defer cancel()
	var list []shoal.EgressRecord
	err := p.ask(asking, http.MethodPost, "/records", nil, &list)
	if err == nil && len(list) > 0 {
		s.keep(ctx, list)
	}
	var counted totals
	if err == nil && !p.stateNow().Since.IsZero() { // others do not count
		if err = p.ask(asking, http.MethodPost, "/totals", nil, &counted); err == nil {
			s.meters.add(counted)
		}
	}
	if err != nil && ctx.Err() == nil && !p.hasEnded(ctx) {
		s.log.Warn("counts of connections are lost", "pid", p.pid, "error", err)
	}
}

func (s *Steward) keep(ctx context.Context, list []shoal.EgressRecord) {
	if s.cfg.Keep == nil {
		return
	}
	if err := s.cfg.Keep(ctx, list); err != nil && ctx.Err() == nil {
		s.log.Warn("records of connections are lost", "error", err)
	}
}

// suspect notes that a process has not answered, and ends it when that was so too often.
func (s *Steward) suspect(ctx context.Context, p *process, err error) {
	if ctx.Err() != nil || p.hasEnded(ctx) || p.silent.Add(1) < tries {
		return
	}
	s.log.Error("an egress process hangs and is ended; its connections are lost", "pid", p.pid, "silent",
		s.cfg.patience(), "connections", p.stateNow().Connections, "stacks", p.hungLog(), "error", err)
	p.hung.Store(true)
	if err := p.kill(ctx); err != nil {
		s.log.Error("an egress process that hangs cannot be ended", "pid", p.pid, "error", err)
	}
	s.tell()
}

// tell has Run look after the processes.
func (s *Steward) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
