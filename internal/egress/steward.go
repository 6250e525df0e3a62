package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// StewardConfig says how processes are started.
type StewardConfig struct {
	RunDir string
	// Build is of the processes that Start starts; one of another build is replaced.
	Build string
	// Start starts a process; see Launch.
	Start func(ctx context.Context) (*os.Process, error)
	// Keep takes the records of connections; nil drops them.
	Keep func(ctx context.Context, list []shoal.EgressRecord) error
	// Patience is how long a process may be silent before it is ended and replaced; 0 is 15 s.
	Patience time.Duration
}

// Steward keeps a process of this machine and tells it policies. There is none until a sandbox
// needs it.
type Steward struct {
	cfg StewardConfig
	log *slog.Logger
	// lead has the host's kernel lead connections to a port, nowhere if it is 0.
	lead func(port uint16) error
	// counts are of what the process does not see.
	counts *counts
	meters *meters
	listed atomic.Pointer[[]*process] // the processes, for those who cannot wait for mu; see all
	known  sync.Map                   // netip.Addr → *Policy, for those who cannot wait for mu

	mu       sync.Mutex // guards the rest, and is held during calls to processes
	policies map[netip.Addr]*Policy
	current  *process // nil if there is none
	port     uint16   // of current
	draining []*process
	changed  chan struct{} // tells Run of another process
	watches  sync.WaitGroup
	watching context.Context // ends the watches; nil until Run
}

// NewSteward returns a steward that has looked for nothing yet.
func NewSteward(cfg StewardConfig, log *slog.Logger) *Steward {
	return &Steward{cfg: cfg, log: log, policies: map[netip.Addr]*Policy{}, changed: make(chan struct{}, 1),
		counts: newCounts(), meters: newMeters(), lead: func(uint16) error { return nil }}
}

// Open takes over what processes of an earlier orchestrator left: the one that serves goes on
// with its policies, unless it is of another build, which drains. It returns the port that
// connections must be led to, 0 if there is none. lead is called when that changes.
func (s *Steward) Open(ctx context.Context, lead func(port uint16) error) (uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publishLocked()
	defer func() { s.lead = lead }() // until then the caller leads to what is returned
	found, err := s.find(ctx)
	if err != nil {
		return 0, err
	}
	for p, err := range found {
		st := p.stateNow()
		switch {
		case err != nil: // Run ends it unless it answers again
			s.log.Warn("an egress process does not answer", "pid", p.pid, "error", err)
			s.draining = append(s.draining, p)
		case st.Draining || st.Protocol != protocol || s.current != nil:
			s.drainLocked(ctx, p)
		default:
			if err := p.ask(ctx, http.MethodGet, "/policies", nil, &s.policies); err != nil {
				return 0, fmt.Errorf("ask an egress process for its policies: %w", err)
			}
			for address, policy := range s.policies {
				s.known.Store(address, policy)
			}
			s.current, s.port = p, st.Port
			if st.Build != s.cfg.Build {
				if err := s.replaceLocked(ctx); err != nil {
					s.log.Error("an egress process of another version goes on", "pid", p.pid, "error", err)
				}
			}
		}
	}
	return s.port, nil
}

// find lists the processes that are there, with why they do not answer, and removes the sockets of
// those that have ended.
func (s *Steward) find(ctx context.Context) (map[*process]error, error) {
	entries, err := os.ReadDir(socketDir(s.cfg.RunDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := map[*process]error{}
	for _, e := range entries {
		pid, ok := pidOf(e.Name())
		if !ok {
			continue
		}
		path := filepath.Join(socketDir(s.cfg.RunDir), e.Name())
		p := newProcess(pid, path)
		asking, cancel := context.WithTimeout(ctx, s.cfg.patience()/tries)
		_, err := p.state(asking)
		cancel()
		if errors.Is(err, unix.ECONNREFUSED) {
			if err := p.tidy(); err != nil {
				return nil, err
			}
			continue
		}
		found[p] = err
	}
	return found, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// drainLocked leaves a process to the connections that it has.
func (s *Steward) drainLocked(ctx context.Context, p *process) {
	s.collectFrom(ctx, p) // if it has no connection, it ends at once
	if err := p.ask(ctx, http.MethodPost, "/drain", nil, nil); err != nil {
		s.log.Warn("an egress process does not drain", "pid", p.pid, "error", err)
	}
	s.draining = append(s.draining, p)
	s.watchLocked(p)
}

// replaceLocked starts a process, which gets all policies before the first connection, and lets
// the one before it drain.
func (s *Steward) replaceLocked(ctx context.Context) error {
	before := s.current
	if before != nil && len(s.policies) == 0 {
		s.current, s.port = nil, 0
		s.drainLocked(ctx, before)
		return s.lead(0)
	}
	p, port, err := s.startLocked(ctx)
	if err == nil {
		if err = s.lead(port); err != nil {
			err = errors.Join(err, p.end(ctx))
		}
	}
	if err != nil {
		return err
	}
	s.current, s.port = p, port
	s.watchLocked(p)
	if before != nil {
		s.drainLocked(ctx, before)
	}
	return nil
}

func (s *Steward) startLocked(ctx context.Context) (*process, uint16, error) {
	own, err := s.cfg.Start(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("start the egress process: %w", err)
	}
	p := newChild(own, filepath.Join(socketDir(s.cfg.RunDir), socketName(own.Pid)))
	st, err := p.state(ctx)
	for address, policy := range s.policies {
		if err == nil {
			err = p.set(ctx, address, policy)
		}
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("tell a new egress process its policies: %w", err), p.end(ctx))
	}
	return p, st.Port, nil
}

func (p *process) set(ctx context.Context, address netip.Addr, policy *Policy) error {
	return p.ask(ctx, http.MethodPut, "/policies/"+address.String(), policy, nil)
}

// Set makes a policy that of a sandbox's address in the process, which is started if there is
// none, and ends the connections that it forbids. After an error the former one holds, or no
// connection is possible.
func (s *Steward) Set(ctx context.Context, address netip.Addr, policy *Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publishLocked()
	before, had := s.policies[address]
	s.policies[address] = policy
	err := s.setLocked(ctx, address, policy)
	if err != nil {
		if s.policies[address] = before; !had {
			delete(s.policies, address)
		}
		return fmt.Errorf("tell the egress process a policy: %w", err)
	}
	s.known.Store(address, policy)
	for _, p := range s.draining {
		if err := p.set(ctx, address, policy); err != nil && !p.hasEnded(ctx) {
			// It may have connections that the policy forbids.
			s.log.Warn("an egress process that drains is ended: it takes no policy", "pid", p.pid, "error", err)
			if err := p.end(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Steward) setLocked(ctx context.Context, address netip.Addr, policy *Policy) error {
	if s.current != nil {
		err := s.current.set(ctx, address, policy)
		if err == nil || !s.current.hasEnded(ctx) {
			return err
		}
		s.noteLoss(s.current)
		if err := s.current.tidy(); err != nil {
			return err
		}
		s.current, s.port = nil, 0
	}
	return s.replaceLocked(ctx)
}

// Remove forgets the policy of an address and ends its connections.
func (s *Steward) Remove(ctx context.Context, address netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.policies[address]; !ok {
		return nil
	}
	delete(s.policies, address)
	s.known.Delete(address)
	var errs error
	for _, p := range s.allLocked() {
		if err := p.ask(ctx, http.MethodDelete, "/policies/"+address.String(), nil, nil); err != nil && !p.hasEnded(ctx) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// Retain forgets the policies of all addresses but those, and ends their connections.
func (s *Steward) Retain(ctx context.Context, keep func(netip.Addr) bool) error {
	var gone []netip.Addr
	s.mu.Lock()
	for address := range s.policies {
		if !keep(address) {
			gone = append(gone, address)
		}
	}
	s.mu.Unlock()
	var errs error
	for _, address := range gone {
		errs = errors.Join(errs, s.Remove(ctx, address))
	}
	return errs
}

// Known is the policy of an address; nil if there is none. It does not wait.
func (s *Steward) Known(address netip.Addr) *Policy {
	p, _ := s.known.Load(address)
	policy, _ := p.(*Policy)
	return policy
}

// Count adds what became of something that the process does not see, such as a lookup.
func (s *Steward) Count(p *Policy, target string, port uint16, o shoal.EgressOutcome) {
	s.counts.count(p, target, port, o, time.Now())
}

func (s *Steward) allLocked() []*process {
	all := slices.Clone(s.draining)
	if s.current != nil {
		all = append(all, s.current)
	}
	return all
}

// restartPause is the time between two tries to start a process.
const restartPause = time.Second

// Run starts another process when one has ended that sandboxes need, ends those that hang, and
// collects what they have counted, until ctx ends. The process goes on after that.
func (s *Steward) Run(ctx context.Context) error {
	s.mu.Lock()
	s.watching = ctx
	for _, p := range s.allLocked() {
		s.watchLocked(p)
	}
	s.mu.Unlock()
	s.watches.Go(func() { s.look(ctx) })
	defer s.watches.Wait()
	again := time.NewTicker(restartPause)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			s.check(ctx)
		case <-again.C:
			s.check(ctx)
		}
	}
}

// check forgets the processes that have ended, and starts another if that is needed.
func (s *Steward) check(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publishLocked()
	s.draining = slices.DeleteFunc(s.draining, func(p *process) bool {
		if !p.hasEnded(ctx) || p.tidy() != nil {
			return false
		}
		if p.hung.Load() {
			s.meters.ends.WithLabelValues(endedHung).Inc()
		}
		return true
	})
	if s.current != nil && s.current.hasEnded(ctx) {
		s.noteLoss(s.current)
		if err := s.current.tidy(); err != nil {
			s.log.Warn("files of an egress process are left", "error", err)
		}
		s.current, s.port = nil, 0
	}
	if s.current == nil && len(s.policies) > 0 {
		if err := s.replaceLocked(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("sandboxes with rules about names reach nothing", "error", err)
		}
	}
}

// noteLoss tells the operator of a process that has ended though it was needed.
func (s *Steward) noteLoss(p *process) {
	reason := endedItself
	if p.hung.Load() {
		reason = endedHung // which was told of
	} else {
		s.log.Warn("the egress process has ended; its connections are lost", "pid", p.pid, "log", p.lastWords())
	}
	s.meters.ends.WithLabelValues(reason).Inc()
}

// watchLocked tells Run when the process ends. Before Run nothing is watched.
func (s *Steward) watchLocked(p *process) {
	if s.watching == nil || p.watched {
		return
	}
	p.watched = true
	s.watches.Go(func() {
		p.watch(s.watching)
		s.tell()
	})
}

// Teardown ends all processes.
func (s *Steward) Teardown(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publishLocked()
	var errs error
	for _, p := range s.allLocked() {
		errs = errors.Join(errs, p.end(ctx))
	}
	s.current, s.port, s.draining, s.policies = nil, 0, nil, map[netip.Addr]*Policy{}
	return errors.Join(errs, os.RemoveAll(socketDir(s.cfg.RunDir)))
}
