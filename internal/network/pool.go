package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"shoal/internal/shoal"
)

// Config configures the slots of one installation.
type Config struct {
	// Name keeps several installations on one machine apart; at most 8 lower-case
	// letters and digits, empty for the machine's own.
	Name string
	// HostCIDR and VethCIDR are the ranges of runtime.md §2.1; the host must not
	// use them otherwise.
	HostCIDR, VethCIDR netip.Prefix
	// DNSUpstreams are asked for the guests; the host's own resolvers if empty.
	DNSUpstreams []netip.AddrPort
	// AllowInternal are private ranges that guests may reach all the same.
	AllowInternal []netip.Prefix
	// PoolSize is how many slots are kept ready.
	PoolSize int
	// StateDir keeps what the host had before, across restarts.
	StateDir string
	// Identify tells which sandbox has a slot address, for requests from inside.
	Identify func(netip.Addr) (sandboxID string, ok bool)
	// KeepLog takes log lines of a sandbox, one JSON object each; nil drops them. An
	// error asks the guest to wait.
	KeepLog func(ctx context.Context, sandboxID string, lines []byte) error
}

// hostCheck is how often the host's rules are looked at, in case another program
// has rewritten them.
const hostCheck = 3 * time.Second

// Pool keeps slots ready and takes them back.
type Pool struct {
	cfg  Config
	plan plan
	log  *slog.Logger
	host *host
	dns  *forwarder
	loop *hyperloop

	mu    sync.Mutex
	taken map[int]bool // index in use, ready or being removed
	next  int          // where the search for a free index goes on
	ready []*Slot
	// refill wakes the filler; removals are in the background and are waited for.
	refill  chan struct{}
	removal sync.WaitGroup
}

// NewPool installs what the slots share. Nothing of an earlier run is touched
// before Reclaim.
func NewPool(cfg Config, log *slog.Logger) (*Pool, error) {
	pl, err := newPlan(cfg.Name, cfg.HostCIDR, cfg.VethCIDR)
	if err != nil {
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the network settings are wrong")
	}
	mounted, err := prepareNamespaceDir(namespaceDir)
	if err != nil {
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the directory of network namespaces cannot be prepared")
	}
	p := &Pool{cfg: cfg, plan: pl, log: log, taken: map[int]bool{}, next: 1, refill: make(chan struct{}, 1),
		host: &host{plan: pl, state: filepath.Join(cfg.StateDir, "network.json"), mounted: mounted}}
	if p.dns, err = newForwarder(cfg.DNSUpstreams, pl.host, log); err != nil {
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the DNS forwarder cannot listen")
	}
	if p.loop, err = newHyperloop(cfg); err != nil {
		p.dns.close()
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the guests' node service cannot listen")
	}
	if err := errors.Join(p.host.install(p.dns.port(), p.loop.port()), p.host.openForeign()); err != nil {
		p.dns.close()
		p.loop.close()
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the host's network rules cannot be installed")
	}
	return p, nil
}

// Run serves guests' DNS and keeps the pool filled until ctx ends. Slots in use
// stay; ready ones are removed.
func (p *Pool) Run(ctx context.Context) error {
	var services sync.WaitGroup
	services.Go(func() { p.dns.serve() })
	services.Go(func() { p.loop.serve() })
	check := time.NewTicker(hostCheck)
	defer check.Stop()
	p.fill(ctx)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.refill:
			p.fill(ctx)
		case <-check.C:
			if err := p.host.mend(p.dns.port(), p.loop.port()); err != nil {
				p.log.Warn("the host's rules for sandboxes could not be put back", "error", err)
			}
		}
	}
	p.dns.close()
	p.loop.close()
	services.Wait()
	p.removal.Wait()
	return p.dropReady()
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
			p.log.Warn("a network slot could not be prepared", "error", err)
			return
		}
		p.mu.Lock()
		p.ready = append(p.ready, s)
		p.mu.Unlock()
	}
}

// Acquire hands out a slot with nothing allowed out yet. Errors are
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

// make builds a slot at a free index. A namespace that exists belongs to another
// process or to an earlier run; its index is passed over.
func (p *Pool) make() (*Slot, error) {
	for range p.plan.max {
		index, ok := p.reserve()
		if !ok {
			break
		}
		s := &Slot{index: index, plan: p.plan, allowInternal: p.cfg.AllowInternal}
		err := s.create()
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, os.ErrExist) {
			p.free(index)
			return nil, err
		}
		// Stays taken: who has it is found by Reclaim.
	}
	return nil, shoal.ErrNetworkExhausted.New("all %d network slots are in use", p.plan.max)
}

// reserve goes round, so that an address is not used again soon.
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
			p.log.Warn("a network slot could not be removed", "slot", s.index, "error", err)
			return // stays taken
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
	s := &Slot{index: index, plan: p.plan, allowInternal: p.cfg.AllowInternal}
	if _, err := os.Stat(s.Namespace()); err != nil {
		return nil, fmt.Errorf("network slot %d is gone: %w", index, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[index] = true
	return s, nil
}

// Reclaim removes every slot of this installation that inUse does not name and
// that is not in the pool.
func (p *Pool) Reclaim(inUse func(index int) bool) error {
	p.mu.Lock()
	pooled := map[int]bool{}
	for _, s := range p.ready {
		pooled[s.index] = true
	}
	p.mu.Unlock()
	indexes, err := p.existing()
	if err != nil {
		return err
	}
	var errs error
	for _, index := range indexes {
		if inUse(index) || pooled[index] {
			continue
		}
		s := &Slot{index: index, plan: p.plan}
		if err := s.remove(); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		p.free(index)
	}
	return errs
}

// existing lists the indexes that have a namespace or a link of ours: a link
// outlives its namespace's name while a dying kernel holds its socket.
func (p *Pool) existing() ([]int, error) {
	entries, err := os.ReadDir(namespaceDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	links, err := Dump(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	found := map[int]bool{}
	add := func(name, prefix string) {
		if number, ours := strings.CutPrefix(name, prefix); ours {
			if index, err := strconv.Atoi(number); err == nil && index > 0 {
				found[index] = true
			}
		}
	}
	for _, e := range entries {
		add(e.Name(), p.plan.namespacePrefix())
	}
	for _, l := range links {
		add(l.Attrs().Name, p.plan.linkPrefix())
	}
	return slices.Sorted(maps.Keys(found)), nil
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

// Teardown removes every slot and everything on the host; guests must be gone.
func (p *Pool) Teardown() error {
	p.removal.Wait()
	p.dns.close()
	p.loop.close()
	return errors.Join(p.dropReady(), p.Reclaim(func(int) bool { return false }), p.host.closeForeign(), p.host.remove())
}
