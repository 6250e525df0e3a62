package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	nlsocket "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

// How many connections one guest may have open: in all, to the node service, and by TCP to
// the DNS forwarder. All guests share the host's connection table and the file descriptors
// of this process.
const (
	maxFlows         = 8192
	maxNodeFlows     = 64
	maxResolverFlows = 16
)

// How many packets with DNS queries a guest may send per second, and how many at once. What
// is beyond is lost, and the guest's resolver asks again.
const (
	maxQueryRate  = 200
	maxQueryBurst = 400
)

// How many refusals a guest gets per second, and how many at once. What is beyond
// is lost: a guest that floods what it may not reach gets no flood of answers.
const (
	maxRefusalRate  = 1000
	maxRefusalBurst = 2000
)

// slotTable is our table inside every slot's namespace, and refusalChain the chain that answers
// what is not allowed.
const (
	slotTable    = "slot"
	refusalChain = "refuse"
)

// alwaysDenied are the ranges that no policy can open, only the operator
// (runtime.md §2.2). The metadata services of clouds are denied besides.
var alwaysDenied = prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
	"172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// installRules runs inside the slot's namespace. The rules deny the guest all addresses
// until SetEgress, except those that the operator has opened.
func (s *Slot) installRules() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: slotTable, Family: nftables.TableFamilyIPv4}
	// Deleting a missing table would fail, so the table is added first.
	c.AddTable(t)
	c.DelTable(t)
	t = c.AddTable(t)
	metadata, internal, denied, allowUser, denyUser := slotSets(t)
	named, untransformed := nameSets(t)
	for set, ranges := range map[*nftables.Set][]netip.Prefix{metadata: closedMetadata(s.allowInternal),
		internal: s.allowInternal, denied: alwaysDenied, allowUser: nil, denyUser: prefixes("0.0.0.0/0"),
		named: nil, untransformed: nil} {
		if err := c.AddSet(set, elements(ranges)); err != nil {
			return err
		}
	}
	add := func(ch *nftables.Chain, parts ...words) {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: rule(parts...)})
	}
	guest, host := fromLink(exactly(gatewayName)), fromLink(exactly(hostLinkName))

	in := c.AddChain(chain(t, "prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting,
		nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept))
	// Only the host may open connections to the guest. Otherwise, when a connection that
	// the guest opened is forgotten, packets from its far end would count as a new one.
	add(in, host, source(expr.CmpOpEq, s.plan.vethHost(s.index)), destination(s.HostIP()),
		rewrite(expr.NATTypeDestNAT, guestIP))
	// A DNS query that the policy denies goes to the node, which refuses it.
	query := rule(guest, destination(resolverIP), toPort(unix.IPPROTO_UDP, 53))
	add(in, query, destinationIn(allowUser), accept())
	add(in, query, destinationIn(denyUser), rewrite(expr.NATTypeDestNAT, hyperloopIP))
	out := c.AddChain(chain(t, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting,
		nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept))
	add(out, toLink(exactly(hostLinkName)), source(expr.CmpOpEq, guestIP),
		rewrite(expr.NATTypeSourceNAT, s.HostIP()))

	// The guest may not talk to the namespace itself.
	self := c.AddChain(chain(t, "input", nftables.ChainTypeFilter, nftables.ChainHookInput,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept))
	add(self, guest, drop())

	fwd := c.AddChain(chain(t, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward,
		nftables.ChainPriorityFilter, nftables.ChainPolicyDrop))
	// refuse tells the guest at once, so that its programs do not wait.
	refusals := c.AddChain(&nftables.Chain{Table: t, Name: refusalChain})
	add(refusals, faster(maxRefusalRate, maxRefusalBurst), drop())
	add(refusals, protocol(unix.IPPROTO_TCP), reset())
	add(refusals, prohibit())
	refuse := func(parts ...words) { add(fwd, guest, rule(parts...), goTo(refusalChain)) }
	add(fwd, guest, source(expr.CmpOpNeq, guestIP), drop())
	add(fwd, inState(expr.CtStateBitINVALID), drop()) // its addresses are not translated
	// Connections that the host opens to the guest, and the guest's answers.
	add(fwd, host, translated(), accept())
	add(fwd, guest, answering(), accept())
	// Answers to connections that the guest opens. Every packet is checked against the
	// policy, so that a new policy ends open connections. ICMP errors may come from anywhere.
	add(fwd, host, inState(expr.CtStateBitRELATED), accept())
	add(fwd, host, answering(), source(expr.CmpOpEq, hyperloopIP), accept())
	add(fwd, host, answering(), sourceIn(internal), accept())
	add(fwd, host, answering(), protocol(unix.IPPROTO_TCP), sourceIn(named), accept())
	add(fwd, host, answering(), sourceIn(allowUser), accept())
	add(fwd, host, answering(), sourceIn(denyUser), drop())
	add(fwd, host, answering(), accept())
	// Connections that the guest opens: to the node,
	add(fwd, guest, moreThan(maxFlows), drop())
	node, refusedDNS := rule(destination(hyperloopIP), toPort(unix.IPPROTO_TCP, 80)),
		rule(destination(hyperloopIP), toPort(unix.IPPROTO_UDP, 53))
	add(fwd, guest, node, moreThan(maxNodeFlows), drop())
	add(fwd, guest, node, accept())
	add(fwd, guest, refusedDNS, faster(maxQueryRate, maxQueryBurst), drop())
	add(fwd, guest, refusedDNS, translated(), accept())
	refuse(destination(hyperloopIP)) // the host's network may have a machine there
	// and to others, the DNS forwarder among them.
	resolver := destination(resolverIP)
	add(fwd, guest, resolver, toPort(unix.IPPROTO_UDP, 53), faster(maxQueryRate, maxQueryBurst), drop())
	add(fwd, guest, resolver, toPort(unix.IPPROTO_TCP, 53), faster(maxQueryRate, maxQueryBurst), drop())
	add(fwd, guest, resolver, toPort(unix.IPPROTO_TCP, 53), moreThan(maxResolverFlows), reset())
	refuse(destinationIn(metadata))
	// QUIC would go round what is done to requests by TCP, and clients fall back to that.
	refuse(toPort(unix.IPPROTO_UDP, 443), destinationIn(untransformed))
	add(fwd, guest, destinationIn(internal), accept())
	refuse(destinationIn(denied))
	// The egress process decides about these, by name or address. The forwarder does not.
	add(fwd, guest, resolver, toPort(unix.IPPROTO_TCP, 53), destinationIn(allowUser), accept())
	refuse(resolver, toPort(unix.IPPROTO_TCP, 53), destinationIn(denyUser))
	add(fwd, guest, protocol(unix.IPPROTO_TCP), destinationIn(named), accept())
	add(fwd, guest, destinationIn(allowUser), accept())
	refuse(destinationIn(denyUser))
	add(fwd, guest, accept())
	if err := c.Flush(); err != nil {
		return fmt.Errorf("install the slot's rules: %w", err)
	}
	return nil
}

// closedMetadata returns the addresses of metadata services, without those that the
// operator has opened by name: a wider range that he opened does not mean them.
func closedMetadata(opened []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(outbound.Metadata(), func(p netip.Prefix) bool {
		return !p.Addr().Is4() || slices.Contains(opened, p)
	})
}

// slotSets returns the address sets of a slot's rules, in the order of evaluation.
func slotSets(t *nftables.Table) (metadata, internal, denied, allowUser, denyUser *nftables.Set) {
	set := func(id uint32, name string) *nftables.Set {
		return &nftables.Set{Table: t, ID: id, Name: name, KeyType: nftables.TypeIPAddr, Interval: true}
	}
	return set(5, "metadata"), set(1, "internal"), set(2, "denied"), set(3, "allow"), set(4, "deny")
}

// nameSets are the addresses to which TCP is the egress process's to decide about, and those to
// which no UDP goes that could stand for HTTPS: none, or all.
func nameSets(t *nftables.Table) (named, untransformed *nftables.Set) {
	set := func(id uint32, name string) *nftables.Set {
		return &nftables.Set{Table: t, ID: id, Name: name, KeyType: nftables.TypeIPAddr, Interval: true}
	}
	return set(6, "named"), set(7, "untransformed")
}

// nothingOr is everything if that is so.
func nothingOr(so bool) []netip.Prefix {
	if so {
		return []netip.Prefix{everything}
	}
	return nil
}

const (
	// elementsAtOnce is how many elements of a set one message adds. An attribute of a
	// message has at most 64 KiB.
	elementsAtOnce = 1000
	// policyBuffer is the size of both buffers, in bytes, of the socket that a policy goes
	// through: the host's kernel takes the changes as one datagram or not at all, and its
	// acknowledgements, which it drops when there is no room, must not be lost.
	policyBuffer = 4 << 20
)

// setRules atomically replaces what the slot's own rules let pass. After an error the former ones
// hold.
func (s *Slot) setRules(e Egress) error {
	err := inNamespace(s.plan.namespaceName(s.index), func() error {
		err := s.fillSets(e)
		if errors.Is(err, unix.ENOENT) { // an earlier version of Shoal has made the slot's rules
			if err = s.installRules(); err == nil {
				err = s.fillSets(e)
			}
		}
		return err
	})
	if err != nil {
		return shoal.ErrNetworkSetup.Wrap(err, "the egress rules of slot %d cannot be set", s.index)
	}
	return nil
}

// fillSets runs inside the slot's namespace.
func (s *Slot) fillSets(e Egress) error {
	c, err := nftables.New(nftables.WithSockOptions(func(c *nlsocket.Conn) error {
		return errors.Join(c.SetReadBuffer(policyBuffer), c.SetWriteBuffer(policyBuffer))
	}))
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: slotTable, Family: nftables.TableFamilyIPv4}
	_, _, _, allowUser, denyUser := slotSets(t)
	named, untransformed := nameSets(t)
	for set, ranges := range map[*nftables.Set][]netip.Prefix{allowUser: e.allow, denyUser: e.deny,
		named: nothingOr(e.Named()), untransformed: nothingOr(e.transforms())} {
		set.ID = 0 // the set exists already, so it is addressed by its name
		c.FlushSet(set)
		for some := range slices.Chunk(elements(ranges), elementsAtOnce) {
			if err := c.SetAddElements(set, some); err != nil {
				return err
			}
		}
	}
	return c.Flush()
}
