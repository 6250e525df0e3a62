package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// The host's rules lead TCP of slots in the set of named ones to the egress process, and let no
// TCP of theirs pass otherwise: not while there is no process, and not what was open before. The
// set outlives this process, as the egress process does.

// The set of these slots' addresses, and the chains with the process's port.
const (
	namedSet    = "named"
	leadChain   = "lead"
	admitChain  = "admit"
	nobodysPort = 0
)

// names is what of the host's rules changes with policies. host.mu guards it.
type names struct {
	slots map[netip.Addr]bool
	port  uint16 // of the egress process; 0 if there is none
}

func hostNamedSet(t *nftables.Table) *nftables.Set {
	return &nftables.Set{Table: t, ID: 2, Name: namedSet, KeyType: nftables.TypeIPAddr}
}

func (h *host) hostTable() *nftables.Table {
	return &nftables.Table{Name: h.plan.table(), Family: nftables.TableFamilyIPv4}
}

// readNamed learns from the host's rules which slots an earlier process has named.
func (h *host) readNamed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names.slots = map[netip.Addr]bool{}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == h.plan.table() }) {
		return nil
	}
	sets, err := c.GetSets(h.hostTable())
	if err != nil {
		return fmt.Errorf("read the host's rules: %w", err)
	}
	for _, set := range sets {
		if set.Name != namedSet {
			continue
		}
		list, err := c.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("read the slots with rules about names: %w", err)
		}
		for _, e := range list {
			if addr, ok := netip.AddrFromSlice(e.Key); ok {
				h.names.slots[addr] = true
			}
		}
	}
	return nil
}

// addNames adds the set and the chains to a table that is being made, with what they have now.
func (h *host) addNames(c *nftables.Conn, t *nftables.Table) (*nftables.Set, error) {
	set := hostNamedSet(t)
	var list []nftables.SetElement
	for addr := range h.names.slots {
		list = append(list, nftables.SetElement{Key: addr.AsSlice()})
	}
	if err := c.AddSet(set, list); err != nil {
		return nil, err
	}
	c.AddChain(&nftables.Chain{Table: t, Name: leadChain})
	c.AddChain(&nftables.Chain{Table: t, Name: admitChain})
	h.addLead(c, t, set)
	return set, nil
}

// addLead fills the chains. Whoever jumps to them has seen that the packet is of a named slot.
func (h *host) addLead(c *nftables.Conn, t *nftables.Table, set *nftables.Set) {
	if h.names.port == nobodysPort {
		return
	}
	for chain, then := range map[string]words{
		leadChain:  rule(protocol(unix.IPPROTO_TCP), redirectTo(h.names.port)),
		admitChain: rule(sourceIn(set), translated(), toPort(unix.IPPROTO_TCP, h.names.port), accept()),
	} {
		c.AddRule(&nftables.Rule{Table: t, Chain: &nftables.Chain{Table: t, Name: chain}, Exprs: then})
	}
}

// lead has connections of named slots go to a port, nowhere if it is 0.
func (h *host) lead(port uint16) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.names.port
	h.names.port = port
	if err := h.writeLead(); err != nil {
		h.names.port = before
		return fmt.Errorf("lead connections to the egress process: %w", err)
	}
	return nil
}

func (h *host) writeLead() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := h.hostTable()
	for _, name := range []string{leadChain, admitChain} {
		c.FlushChain(&nftables.Chain{Table: t, Name: name})
	}
	set := hostNamedSet(t)
	set.ID = 0 // the set exists already, so it is addressed by its name
	h.addLead(c, t, set)
	return c.Flush()
}

// isNamed tells whether the slot with the address is one whose TCP the egress process takes.
func (h *host) isNamed(addr netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.names.slots[addr]
}

// named lists the addresses in the set.
func (h *host) named() []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.names.slots))
}

// setNamed adds a slot to the set, or takes it out.
func (h *host) setNamed(addr netip.Addr, named bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names.slots[addr] == named {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	set, list := hostNamedSet(h.hostTable()), []nftables.SetElement{{Key: addr.AsSlice()}}
	set.ID = 0 // the set exists already, so it is addressed by its name
	if named {
		err = c.SetAddElements(set, list)
	} else {
		err = c.SetDeleteElements(set, list)
	}
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		return shoal.ErrNetworkSetup.Wrap(err, "the slots with rules about names cannot be changed")
	}
	if named {
		h.names.slots[addr] = true
	} else {
		delete(h.names.slots, addr)
	}
	return nil
}

// SetEgress replaces what the guest may reach. Nothing is reached meanwhile that neither policy
// allows: the egress process is told first, and the slot is let go by it last. Open connections
// that the new policy does not allow pass no more packets. Those that were open before names were
// decided about all end, for nobody has read whom their clients asked for. After an error the caller sets the former policy again.
func (s *Slot) SetEgress(ctx context.Context, e Egress) error {
	was := s.host.isNamed(s.HostIP())
	if !was && !e.Named() {
		return s.setRules(e)
	}
	if s.steward == nil {
		return shoal.ErrNetworkSetup.New("nothing decides about names here")
	}
	if e.Named() {
		if err := s.steward.Set(ctx, s.HostIP(), e.inProcess()); err != nil {
			return shoal.ErrNetworkSetup.Wrap(err, "the policy of slot %d cannot be set", s.index)
		}
		if err := s.host.setNamed(s.HostIP(), true); err != nil {
			return err
		}
		if !was {
			// Their next packet, of either end, is of no connection, which ends it there. The rules
			// alone would let pass what servers send until the guest acknowledges it.
			forgetOpened(s.HostIP())
		}
		return s.setRules(e)
	}
	if err := s.setRules(e); err != nil {
		return err
	}
	if err := s.host.setNamed(s.HostIP(), false); err != nil {
		return err
	}
	if err := s.steward.Set(ctx, s.HostIP(), e.inProcess()); err != nil {
		return shoal.ErrNetworkSetup.Wrap(err, "the policy of slot %d cannot be set", s.index)
	}
	return nil
}

// Named tells whether the egress process takes the guest's TCP, as an earlier process may have
// set it.
func (s *Slot) Named() bool { return s.host.isNamed(s.HostIP()) }

// unname ends what is decided by name for the slot's address, which another guest may get.
func (s *Slot) unname(ctx context.Context) error {
	err := s.host.setNamed(s.HostIP(), false)
	if s.steward != nil {
		if removed := s.steward.Remove(ctx, s.HostIP()); removed != nil && err == nil {
			err = removed
		}
	}
	return err
}

// unnameUnused does that for all addresses that no slot in use has.
func (p *Pool) unnameUnused(inUse func(index int) bool) error {
	used := map[netip.Addr]bool{}
	p.mu.Lock()
	for index := range p.taken {
		if inUse(index) {
			used[p.plan.hostIP(index)] = true
		}
	}
	p.mu.Unlock()
	var errs error
	for _, addr := range p.host.named() {
		if !used[addr] {
			errs = errors.Join(errs, p.host.setNamed(addr, false))
		}
	}
	if p.cfg.Egress != nil {
		errs = errors.Join(errs, p.cfg.Egress.Retain(context.Background(), func(a netip.Addr) bool { return used[a] }))
	}
	return errs
}

// jump continues with another chain and comes back.
func jump(chain string) words {
	return words{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}
