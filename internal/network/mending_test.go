package network

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// talk is the two ends of a connection that the guest opened.
type talk struct{ guest, far net.Conn }

// talkTo connects the guest to a listener at an internet address.
func (w *world) talkTo(ip string) talk {
	w.t.Helper()
	var listener net.Listener
	w.must(inNamespace("t-inet", func() (err error) {
		listener, err = net.Listen("tcp4", ip+":7000")
		return err
	}))
	defer listener.Close()
	var c talk
	w.must(inNamespace("t-guest", func() (err error) {
		c.guest, err = net.DialTimeout("tcp4", ip+":7000", 3*time.Second)
		return err
	}))
	var err error
	c.far, err = listener.Accept()
	w.must(err)
	w.t.Cleanup(func() { c.guest.Close(); c.far.Close() })
	return c
}

// arrivalTime is how long to wait for data that should arrive, even on a busy machine.
// silence is how long to wait for data that should not.
const arrivalTime, silence = 10 * time.Second, 700 * time.Millisecond

// arrives reports whether a byte written at one end is read at the other in time.
func arrives(from, to net.Conn, within time.Duration) bool {
	_ = to.SetReadDeadline(time.Now().Add(within))
	if _, err := from.Write([]byte("x")); err != nil {
		return false
	}
	_, err := to.Read(make([]byte, 1))
	return err == nil
}

// TestNewPolicyEndsConnections: a new policy ends the connections that it forbids in both
// directions, whichever side sends first. Allowed connections, connections from the host,
// and those to the node service continue.
func TestNewPolicyEndsConnections(t *testing.T) {
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	farFirst, guestFirst, allowed := w.talkTo(internetIP), w.talkTo(internetIP), w.talkTo(otherIP)
	if !arrives(farFirst.far, farFirst.guest, arrivalTime) ||
		!arrives(guestFirst.guest, guestFirst.far, arrivalTime) ||
		!arrives(allowed.far, allowed.guest, arrivalTime) {
		t.Fatal("the connections do not work to begin with")
	}
	for _, policy := range []shoal.Network{
		{DenyOut: []string{internetIP}},
		{DenyOut: []string{everything.String()}, AllowOut: []string{otherIP}},
	} {
		w.egress(policy)
		if arrives(farFirst.far, farFirst.guest, silence) {
			t.Errorf("%v: the far end still reaches the guest", policy)
		}
		if arrives(farFirst.guest, farFirst.far, silence) || arrives(guestFirst.guest, guestFirst.far, silence) {
			t.Errorf("%v: the guest still reaches the far end", policy)
		}
		if !arrives(allowed.far, allowed.guest, arrivalTime) || !arrives(allowed.guest, allowed.far, arrivalTime) {
			t.Errorf("%v: an allowed connection has ended", policy)
		}
	}
	w.serveIn("t-guest", ":8080", "guest")
	if body, err := w.get("", "http://"+w.slot.HostIP().String()+":8080"); err != nil || !strings.HasPrefix(body, "guest") {
		t.Errorf("a visitor gets %q %v", body, err)
	}
	if _, err := w.get("t-guest", "http://192.0.2.1/me"); err != nil {
		t.Errorf("the guest gets nothing of its node: %v", err)
	}
}

// TestNodeAddress: a guest cannot reach a real machine at 192.0.2.1 in the host's network,
// and one guest cannot use up the connections of the node service.
func TestNodeAddress(t *testing.T) {
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	w.blocked("http://192.0.2.1:8080/me")
	w.must(inNamespace("t-guest", func() error {
		c, err := net.Dial("udp4", "192.0.2.1:8080")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	}))
	// Earlier packets are in the same queue, so they have been seen once this is answered.
	w.reaches("http://" + internetIP)
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	w.must(err)
	for _, f := range flows {
		if f.Forward.SrcIP.Equal(w.slot.HostIP().AsSlice()) && f.Forward.DstPort == 8080 {
			t.Errorf("the packet has left the slot: %v", f)
		}
	}
	opened := 0
	for range maxNodeFlows + 1 {
		limit := arrivalTime
		if opened == maxNodeFlows {
			limit = silence
		}
		err := inNamespace("t-guest", func() error {
			c, err := net.DialTimeout("tcp4", "192.0.2.1:80", limit)
			if err == nil {
				t.Cleanup(func() { c.Close() })
			}
			return err
		})
		if err != nil {
			break
		}
		opened++
	}
	if opened != maxNodeFlows {
		t.Errorf("the guest has %d connections to its node, want %d", opened, maxNodeFlows)
	}
	w.reaches("http://" + internetIP)
}

// TestMend: the pool restores the host's rules and forwarding after another program has
// removed them.
func TestMend(t *testing.T) {
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	c, err := nftables.New()
	w.must(err)
	c.DelTable(&nftables.Table{Name: w.pool.plan.table(), Family: nftables.TableFamilyIPv4})
	w.must(c.Flush())
	installed, err := w.pool.host.mend(w.pool.ports())
	w.must(err)
	if !installed {
		t.Error("the pool has restored the rules by itself, so this shows nothing")
	}
	w.reaches("http://" + internetIP)
	if _, err := w.get("t-guest", "http://192.0.2.1/me"); err != nil {
		t.Errorf("/me: %v", err)
	}
}

// TestInputDropPolicy: guests' DNS and node service work behind a host firewall that lets
// nothing in.
func TestInputDropPolicy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := &nftables.Table{Name: "t-input", Family: nftables.TableFamilyINet}
	w := newWorld(t, nil)
	c.AddTable(table)
	in := c.AddChain(chain(table, "input", nftables.ChainTypeFilter, nftables.ChainHookInput,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept))
	// Drop only packets from slots, because other programs use the host's network.
	c.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: rule(notFromLink(w.pool.plan.linkPrefix()), accept())})
	c.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: drop()})
	w.must(c.Flush())
	t.Cleanup(func() {
		c.DelTable(table)
		w.must(c.Flush())
	})
	w.must(w.pool.host.openForeign())
	w.egress(shoal.Network{})
	if _, err := w.get("t-guest", "http://192.0.2.1/me"); err != nil {
		t.Errorf("/me behind a closed host: %v", err)
	}
	w.must(w.pool.host.closeForeign())
	if rules, err := c.GetRules(table, in); err != nil || len(rules) != 2 {
		t.Errorf("the host's chain has %d rules afterwards, %v; it had 2", len(rules), err)
	}
}

// TestStops: stops recognizes chains that drop or reject what no rule accepts.
func TestStops(t *testing.T) {
	dropping, accepting := nftables.ChainPolicyDrop, nftables.ChainPolicyAccept
	for _, c := range []struct {
		name   string
		policy nftables.ChainPolicy
		rule   words
		want   bool
	}{
		{"policy drop", dropping, accept(), true},
		{"policy accept", accepting, accept(), false},
		{"reject at the end", accepting, rule(counted(), words{&expr.Reject{}}), true},
		{"iptables' reject", accepting, rule(counted(), words{&expr.Target{Name: "REJECT"}}), true},
		{"drop of some", accepting, rule(fromLink("docker0"), drop()), false},
		{"jump", accepting, words{&expr.Verdict{Kind: expr.VerdictJump, Chain: "x"}}, false},
	} {
		got := stops(&nftables.Chain{Policy: &c.policy}, []*nftables.Rule{{Exprs: c.rule}})
		if got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestIptablesStillReadsItsChains: our rules must not make iptables-nft, and
// Docker with it, give up on the host's filter table.
func TestIptablesStillReadsItsChains(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("iptables-nft"); err != nil {
		t.Skip("needs iptables-nft")
	}
	iptables := func(args string) string {
		out, err := exec.Command("iptables-nft", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			t.Errorf("iptables %s: %v: %s", args, err, out)
		}
		return string(out)
	}
	p, err := newPlan("t", netip.MustParsePrefix("10.71.0.0/16"), netip.MustParsePrefix("10.72.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{plan: p}
	err = createNamespace("t-docker", func(int) error {
		for _, args := range []string{"-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A FORWARD -i docker0 -m conntrack --ctstate NEW -j ACCEPT",
			"-A INPUT -j REJECT"} {
			iptables(args)
		}
		before := iptables("-S")
		if err := h.openForeign(); err != nil {
			return err
		}
		open := iptables("-S")
		for _, want := range []string{"-A FORWARD -i t-v+ ", "-A FORWARD -o t-v+ ", "-A INPUT -i t-v+ "} {
			if !strings.Contains(open, want) {
				t.Errorf("no %q in\n%s", want, open)
			}
		}
		iptables("-I FORWARD -j DOCKER-USER") // as a restart of Docker does
		iptables("-D FORWARD -j DOCKER-USER")
		if err := h.closeForeign(); err != nil {
			return err
		}
		if after := iptables("-S"); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := removeNamespace("t-docker"); err != nil {
		t.Error(err)
	}
}

// TestReclaimFindsALinkWithoutNamespace: an exiting sandbox kernel leaves such a link.
func TestReclaimFindsALinkWithoutNamespace(t *testing.T) {
	w := newWorld(t, nil)
	left := w.acquire()
	held, err := os.Open(left.Namespace())
	w.must(err)
	defer held.Close()
	w.must(removeNamespace(w.pool.plan.namespaceName(left.index)))
	w.must(w.pool.Reclaim(func(index int) bool { return index != left.index }))
	if _, err := net.InterfaceByName(w.pool.plan.linkName(left.index)); err == nil {
		t.Error("the link is still there")
	}
}

// TestAcquireConcurrently: no two callers get the same slot.
func TestAcquireConcurrently(t *testing.T) {
	w := newWorld(t, nil)
	const callers = 12
	got := make(chan *Slot, callers)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			s, err := w.pool.Acquire(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			got <- s
		})
	}
	all.Wait()
	close(got)
	seen := map[int]bool{w.slot.index: true}
	for s := range got {
		if seen[s.index] {
			t.Errorf("slot %d was handed out twice", s.index)
		}
		seen[s.index] = true
		w.pool.Release(s)
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct{ name, host, veth string }{
		{"toolongname", "10.71.0.0/16", "10.72.0.0/16"},
		{"a/b", "10.71.0.0/16", "10.72.0.0/16"},
		{"a-", "10.71.0.0/16", "10.72.0.0/16"},
		{"a", "fd00::/64", "10.72.0.0/16"},
		{"a", "10.71.0.0/30", "10.72.0.0/16"},
		{"a", "10.0.0.0/8", "10.72.0.0/16"},
	} {
		if _, err := newPlan(c.name, netip.MustParsePrefix(c.host), netip.MustParsePrefix(c.veth)); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	p, err := newPlan("shoal123", netip.MustParsePrefix("10.71.0.0/16"), netip.MustParsePrefix("10.72.0.0/16"))
	if err != nil || len(p.linkName(p.max)) >= unix.IFNAMSIZ {
		t.Errorf("%v; longest link name %q", err, p.linkName(p.max))
	}
}

// TestPacketSocketCarriesFrames: a packet that the host sends to the slot's address is read
// from the socket, addressed to the guest and with a virtio-net header.
func TestPacketSocketCarriesFrames(t *testing.T) {
	w := newWorld(t, nil)
	s := w.acquire()
	defer w.pool.Release(s)
	socket, err := s.PacketSocket()
	w.must(err)
	defer socket.Close()
	c, err := net.Dial("udp4", netip.AddrPortFrom(s.HostIP(), 9).String())
	w.must(err)
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	w.must(err)
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(socket.Fd()), Events: unix.POLLIN}}, 3000)
	if err != nil || ready != 1 {
		t.Fatalf("no frame: %v", err)
	}
	frame := make([]byte, 2048)
	n, err := unix.Read(int(socket.Fd()), frame)
	w.must(err)
	const virtio, ethernet, ip = 10, 14, 20 // sizes of the headers, in bytes
	if n < virtio+ethernet+ip || !bytes.Equal(frame[virtio:virtio+6], guestMAC) ||
		!bytes.Equal(frame[virtio+ethernet+16:virtio+ethernet+20], guestIP.AsSlice()) {
		t.Errorf("%d bytes: % x", n, frame[:n])
	}
}

// BenchmarkSlot measures what a create waits for when the pool is empty.
func BenchmarkSlot(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	p, err := newPlan("tb", netip.MustParsePrefix("10.73.0.0/16"), netip.MustParsePrefix("10.74.0.0/16"))
	if err != nil {
		b.Fatal(err)
	}
	var made []*Slot
	b.Cleanup(func() {
		for _, s := range made {
			if err := s.remove(); err != nil {
				b.Error(err)
			}
		}
	})
	for b.Loop() {
		s := &Slot{index: len(made) + 1, plan: p}
		if err := s.create(); err != nil {
			b.Fatal(err)
		}
		made = append(made, s)
	}
}
