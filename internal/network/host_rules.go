package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// host is what all slots share on the host: IP forwarding, and one table with a constant
// number of rules, which match slots by the prefix of their links' names.
type host struct {
	plan  plan
	state string // file that remembers what to put back, for all installations
	// mounted means that this process made the directory of namespaces a mount.
	mounted bool

	mu    sync.Mutex // guards names, and is held while the table is written
	names names
}

// ports are where the services for guests listen on the host.
type ports struct{ dns, refusedDNS, hyperloop uint16 }

// install recreates the host's table and turns forwarding on.
func (h *host) install(at ports) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alone(func() error { return errors.Join(h.enableForwarding(), h.installTable(at)) })
}

// installTable recreates the host's table. The caller holds mu.
func (h *host) installTable(at ports) error {
	capacity, err := readNumber(flowSettings, "nf_conntrack_max")
	if err != nil {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: h.plan.table(), Family: nftables.TableFamilyIPv4}
	// Deleting a missing table would fail, so the table is added first. Flush applies
	// everything at once.
	c.AddTable(t)
	c.DelTable(t)
	t = c.AddTable(t)
	none := noFlows(t)
	if err := c.AddSet(none, nil); err != nil {
		return err
	}
	named, err := h.addNames(c, t)
	if err != nil {
		return err
	}
	add := func(ch *nftables.Chain, parts ...words) {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: rule(parts...)})
	}
	slot := fromLink(h.plan.linkPrefix())

	// What is in no valid state would leave with the guest's own address (see also slot_rules.go).
	intake := c.AddChain(chain(t, "intake", nftables.ChainTypeFilter, nftables.ChainHookPrerouting,
		nftables.ChainPriorityMangle, nftables.ChainPolicyAccept))
	add(intake, slot, inState(expr.CtStateBitINVALID), drop())
	add(intake, slot, inState(expr.CtStateBitNEW), sourceIn(none), drop())
	if rate, burst := flowRate(capacity); rate > 0 {
		add(intake, slot, inState(expr.CtStateBitNEW), faster(rate, burst), drop())
	}

	// Only what was sent to a service's own address is redirected, and only that is let in:
	// the services do not answer at the host's addresses. They refuse the host's own programs
	// themselves: another program that has the port, after this one's end, must be reached.
	in := c.AddChain(chain(t, "prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting,
		nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept))
	self := c.AddChain(chain(t, "input", nftables.ChainTypeFilter, nftables.ChainHookInput,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept))
	add(self, slot, established(), accept())
	for _, service := range []struct {
		proto byte
		ip    netip.Addr
		port  uint16
		at    uint16
	}{
		{unix.IPPROTO_UDP, resolverIP, 53, at.dns},
		{unix.IPPROTO_TCP, resolverIP, 53, at.dns},
		{unix.IPPROTO_UDP, hyperloopIP, 53, at.refusedDNS},
		{unix.IPPROTO_TCP, hyperloopIP, 80, at.hyperloop},
	} {
		add(in, slot, destination(service.ip), toPort(service.proto, service.port), redirectTo(service.at))
		add(self, slot, translated(), toPort(service.proto, service.at), accept())
		add(self, notFromLink(h.plan.linkPrefix()), notFromLink(exactly("lo")), toPort(service.proto, service.at),
			drop())
	}
	add(in, slot, sourceIn(named), jump(leadChain))
	add(self, slot, jump(admitChain))
	add(self, slot, drop())

	fwd := c.AddChain(chain(t, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept))
	add(fwd, destinationWithin(h.plan.host), notToLink(h.plan.linkPrefix()), drop())
	add(fwd, slot, toLink(h.plan.linkPrefix()), drop())
	add(fwd, slot, sourceIn(named), protocol(unix.IPPROTO_TCP), reset())
	add(fwd, slot, accept())
	add(fwd, toLink(h.plan.linkPrefix()), established(), accept())
	add(fwd, toLink(h.plan.linkPrefix()), drop())

	// Without its slot, an address leads wherever the host's routes do: to a machine of the
	// operator's that has the same one. So would a late answer to a guest that is gone, and a
	// call of the host's own.
	own := c.AddChain(chain(t, "output", nftables.ChainTypeFilter, nftables.ChainHookOutput,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept))
	astray := rule(destinationWithin(h.plan.host), notToLink(h.plan.linkPrefix()), notToLink(exactly("lo")))
	add(own, astray, protocol(unix.IPPROTO_TCP), reset())
	add(own, astray, prohibit())

	out := c.AddChain(chain(t, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting,
		nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept))
	add(out, sourceWithin(h.plan.host), notToLink(h.plan.linkPrefix()), masquerade())
	if err := c.Flush(); err != nil {
		return fmt.Errorf("install the host's rules: %w", err)
	}
	return nil
}

// mend restores what other programs have removed. A restart of the nftables service
// flushes every table, and Docker rewrites its chains. It reports whether it has installed
// the table anew.
func (h *host) mend(at ports) (installed bool, err error) {
	c, err := nftables.New()
	if err != nil {
		return false, err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, err
	}
	installed = !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == h.plan.table() })
	if installed {
		err = h.install(at)
	} else {
		err = h.keepForwarding()
	}
	return installed, errors.Join(err, h.openForeign())
}
