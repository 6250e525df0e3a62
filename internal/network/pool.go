package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"shoal/internal/egress"
	"shoal/internal/shoal"
)

// Config configures the slots of one installation.
type Config struct {
	// Name tells several installations on one machine apart: at most 8 lower-case
	// letters and digits, empty for the default installation.
	Name string
	// HostCIDR and VethCIDR are the ranges of runtime.md §2.1. The host must not use
	// them for anything else.
	HostCIDR, VethCIDR netip.Prefix
	// DNSUpstreams are the resolvers that guests' queries are forwarded to; the host's
	// own resolvers if empty.
	DNSUpstreams []netip.AddrPort
	// AllowInternal are the private ranges that guests may reach.
	AllowInternal []netip.Prefix
	// PoolSize is how many slots are kept ready.
	PoolSize int
	// StateFile is where the host's original settings are kept until no installation is left
	// on it. All of a host have the same.
	StateFile string
	// Egress keeps the process that decides by name; nil refuses policies that need it.
	Egress *egress.Steward
	// Identify returns the sandbox that has a slot's address, for requests from guests.
	Identify func(netip.Addr) (sandboxID string, ok bool)
	// KeepLog stores log lines of a sandbox, one JSON object each; if it is nil they are
	// dropped. An error of the catalogue is told to the guest; another asks it to wait.
	KeepLog func(ctx context.Context, sandboxID string, lines []byte) error
}

// hostCheck is how often the host's rules are checked, in case another program has
// changed them.
const hostCheck = 3 * time.Second

// Pool prepares slots ahead of time, hands them out and removes them after use.
type Pool struct {
	cfg  Config
	plan plan
	log  *slog.Logger
	host *host
	dns  *forwarder
	loop *hyperloop

	mu    sync.Mutex
	taken map[int]bool // index in use, ready or being removed
	next  int          // where the search for a free index continues
	ready []*Slot
	// refill wakes Run; removal counts the removals in the background.
	refill  chan struct{}
	removal sync.WaitGroup
}

// NewPool installs what all slots share. Slots of an earlier run are left alone until
// Reclaim.
func NewPool(cfg Config, log *slog.Logger) (*Pool, error) {
	pl, err := newPlan(cfg.Name, cfg.HostCIDR, cfg.VethCIDR)
	if err != nil {
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the network settings are wrong")
	}
	if err := pl.checkFree(); err != nil {
		return nil, err
	}
	mounted, err := prepareNamespaceDir(namespaceDir)
	if err != nil {
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the directory of network namespaces cannot be prepared")
	}
	p := &Pool{cfg: cfg, plan: pl, log: log, taken: map[int]bool{}, next: 1, refill: make(chan struct{}, 1),
		host: &host{plan: pl, state: cfg.StateFile, mounted: mounted}}
	if err := p.host.readNamed(); err != nil {
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the host's network rules cannot be read")
	}
	if p.dns, err = newForwarder(cfg.DNSUpstreams, pl, cfg.Egress, log); err != nil {
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the DNS forwarder cannot listen")
	}
	if p.loop, err = newHyperloop(cfg, pl); err != nil {
		p.dns.close()
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the guests' node service cannot listen")
	}
	if err := errors.Join(p.openEgress(), p.host.install(p.ports()), p.host.openForeign()); err != nil {
		p.dns.close()
		p.loop.close()
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the host's network rules cannot be installed")
	}
	return p, nil
}

// openEgress finds the egress process of an earlier run.
func (p *Pool) openEgress() (err error) {
	if p.cfg.Egress != nil {
		p.host.names.port, err = p.cfg.Egress.Open(context.Background(), p.host.lead)
	}
	return err
}

// Run serves guests' DNS and the node service, and keeps the pool filled, until ctx ends.
// It then removes the slots that are ready, and leaves those in use.
func (p *Pool) Run(ctx context.Context) error {
	var services sync.WaitGroup
	services.Go(func() { p.dns.serve() })
	services.Go(func() { p.loop.serve() })
	check, flows := time.NewTicker(hostCheck), time.NewTicker(flowCheck)
	defer check.Stop()
	defer flows.Stop()
	guard := &flowGuard{host: p.host, log: p.log, settings: flowSettings}
	p.fill(ctx)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.refill:
			p.fill(ctx)
		case <-check.C:
			p.mend(guard)
		case <-flows.C:
			if err := guard.check(false); err != nil {
				p.log.Warn("could not guard the host's connection table", "error", err)
			}
		}
	}
	p.dns.close()
	p.loop.close()
	services.Wait()
	p.removal.Wait()
	return p.dropReady()
}

func (p *Pool) ports() ports {
	return ports{dns: p.dns.port(), refusedDNS: p.dns.refusalPort(), hyperloop: p.loop.port()}
}

// mend restores the host's rules if another program has removed them.
func (p *Pool) mend(guard *flowGuard) {
	installed, err := p.host.mend(p.ports())
	if installed {
		err = errors.Join(err, guard.check(true))
	}
	if err != nil {
		p.log.Warn("could not restore the host's network rules", "error", err)
	}
}

func (p *Pool) fill(ctx context.Context) {
	for ctx.Err() == nil {
		p.mu.Lock()
		full := len(p.ready) >= p.cfg.PoolSize
		p.mu.Unlock()
		if full {
			return
		}
		s, err := p.make()
		if err != nil {
			p.log.Warn("could not prepare a network slot", "error", err)
			return
		}
		p.mu.Lock()
		p.ready = append(p.ready, s)
		p.mu.Unlock()
	}
}

// Acquire hands out a slot. Its guest has no way out before SetEgress. Errors are
// ErrNetworkExhausted and ErrNetworkSetup.
func (p *Pool) Acquire(ctx context.Context) (*Slot, error) {
	p.mu.Lock()
	if n := len(p.ready); n > 0 {
		s := p.ready[0]
		p.ready = p.ready[1:]
		p.mu.Unlock()
		p.wake()
		return s, nil
	}
	p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.make()
}

func (p *Pool) wake() {
	select {
	case p.refill <- struct{}{}:
	default:
	}
}

// make creates a slot at a free index. It skips an index whose namespace already exists,
// because that belongs to another process or to an earlier run.
func (p *Pool) make() (*Slot, error) {
	for range p.plan.max {
		index, ok := p.reserve()
		if !ok {
			break
		}
		s := p.slot(index)
		err := s.create()
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, os.ErrExist) {
			p.free(index)
			return nil, err
		}
		// The index stays taken until Reclaim removes its slot.
	}
	return nil, shoal.ErrNetworkExhausted.New("all %d network slots are in use", p.plan.max)
}

func (p *Pool) slot(index int) *Slot {
	return &Slot{index: index, plan: p.plan, allowInternal: p.cfg.AllowInternal, host: p.host, steward: p.cfg.Egress}
}

// reserve takes the next free index in turn, so that an address is not reused soon.
func (p *Pool) reserve() (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.plan.max {
		index := p.next
		p.next = p.next%p.plan.max + 1
		if !p.taken[index] {
			p.taken[index] = true
			return index, true
		}
	}
	return 0, false
}

func (p *Pool) free(index int) {
	p.mu.Lock()
	delete(p.taken, index)
	p.mu.Unlock()
}

// Release removes the slot in the background.
func (p *Pool) Release(s *Slot) {
	p.removal.Go(func() {
		if err := s.remove(); err != nil {
			p.log.Warn("could not remove a network slot", "slot", s.index, "error", err)
			return // the index stays taken
		}
		p.free(s.index)
		p.wake()
	})
}

// Adopt takes over a slot that an earlier process left in use.
func (p *Pool) Adopt(index int) (*Slot, error) {
	if index < 1 || index > p.plan.max {
		return nil, fmt.Errorf("network slot %d does not exist in this configuration", index)
	}
	s := p.slot(index)
	if _, err := os.Stat(s.Namespace()); err != nil {
		return nil, fmt.Errorf("network slot %d is gone: %w", index, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[index] = true
	return s, nil
}

// Reclaim removes every slot of this installation that is neither in use, according to
// inUse, nor ready in the pool.
func (p *Pool) Reclaim(inUse func(index int) bool) error {
	p.mu.Lock()
	pooled := map[int]bool{}
	for _, s := range p.ready {
		pooled[s.index] = true
	}
	p.mu.Unlock()
	indexes, err := p.plan.existing()
	if err != nil {
		return err
	}
	var errs error
	for _, index := range indexes {
		if inUse(index) || pooled[index] {
			continue
		}
		s := p.slot(index)
		if err := s.remove(); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		p.free(index)
	}
	return errors.Join(errs, p.unnameUnused(inUse))
}

func (p *Pool) dropReady() error {
	p.mu.Lock()
	ready := p.ready
	p.ready = nil
	p.mu.Unlock()
	var errs error
	for _, s := range ready {
		errs = errors.Join(errs, s.remove())
		p.free(s.index)
	}
	return errs
}

// Teardown removes every slot and everything that NewPool installed on the host. No guest
// may be running.
func (p *Pool) Teardown() error {
	p.removal.Wait()
	p.dns.close()
	p.loop.close()
	none := func(int) bool { return false }
	return errors.Join(p.dropReady(), p.Reclaim(none), p.host.closeForeign(), p.host.remove())
}
