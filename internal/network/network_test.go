package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

func TestReachability(t *testing.T) {
	w := newWorld(t, nil)
	w.blocked("http://" + internetIP) // no policy is set yet
	w.egress(shoal.Network{})
	body, err := w.get("t-guest", "http://"+internetIP)
	if err != nil || !strings.Contains(body, "to 198.51.100.254:") {
		t.Errorf("the internet sees %q, %v; want the host's address", body, err)
	}
	w.blocked("http://" + privateIP)
	w.serveIn("t-guest", ":8080", "guest")
	if body, err := w.get("", "http://"+w.slot.HostIP().String()+":8080"); err != nil ||
		!strings.HasPrefix(body, "guest") {
		t.Errorf("the host reaches the guest: %q %v", body, err)
	}
	if _, err := w.getWithin(700*time.Millisecond, "t-inet",
		"http://"+w.slot.HostIP().String()+":8080"); err == nil {
		t.Error("the internet reaches the guest")
	}

	// The host itself, at each of its addresses on the path.
	listener, err := net.Listen("tcp4", ":0")
	w.must(err)
	defer listener.Close()
	server := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	for _, ip := range []string{"198.51.100.254", w.slot.plan.vethHost(w.slot.index).String(),
		gatewayIP.String(), w.slot.HostIP().String()} {
		w.blocked(fmt.Sprintf("http://%s:%d", ip, port))
	}

	// Another sandbox.
	other := w.acquire()
	w.attach(other, "t-guest2")
	w.must(other.SetEgress(t.Context(), Egress{}))
	w.serveIn("t-guest2", ":8080", "other")
	w.blocked("http://" + other.HostIP().String() + ":8080")
	w.pool.Release(other)
}

func TestPolicies(t *testing.T) {
	w := newWorld(t, nil)
	inet, other := "http://"+internetIP, "http://"+otherIP
	no := false
	for _, c := range []struct {
		name        string
		policy      shoal.Network
		inet, other bool
	}{
		{"deny one", shoal.Network{DenyOut: []string{internetIP}}, false, true},
		{"cleared", shoal.Network{}, true, true},
		{"deny all", shoal.Network{DenyOut: []string{"0.0.0.0/0"}}, false, false},
		{"allow beats deny", shoal.Network{DenyOut: []string{"0.0.0.0/0"}, AllowOut: []string{internetIP}},
			true, false},
		{"allow a range", shoal.Network{DenyOut: []string{"0.0.0.0/0", "0.0.0.0/0"},
			AllowOut: []string{"198.51.100.2/31", otherIP}}, false, true},
		{"allow alone blocks nothing", shoal.Network{AllowOut: []string{internetIP}}, true, true},
		{"no internet", shoal.Network{AllowInternet: &no}, false, false},
		{"no internet but one", shoal.Network{AllowInternet: &no, AllowOut: []string{otherIP}}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.egress(c.policy)
			for url, want := range map[string]bool{inet: c.inet, other: c.other} {
				if want {
					w.reaches(url)
				} else {
					w.blocked(url)
				}
			}
			w.egress(shoal.Network{AllowOut: []string{privateIP, "172.16.0.0/12"}})
			w.blocked("http://" + privateIP)
		})
	}
}

func TestOperatorOpensARange(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.AllowInternal = prefixes("172.30.99.0/24") })
	w.egress(shoal.Network{})
	w.reaches("http://" + privateIP)
}

func TestSpoofedSourceIsDropped(t *testing.T) {
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	w.must(inNamespace("t-guest", func() error {
		l, err := netlink.LinkByName(guestName)
		if err != nil {
			return err
		}
		if err := netlink.AddrReplace(l, &netlink.Addr{IPNet: ipNet(netip.MustParseAddr("198.51.100.77"),
			32)}); err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{Gw: gatewayIP.AsSlice(),
			Src: net.ParseIP("198.51.100.77")})
	}))
	w.blocked("http://" + internetIP)
}

// TestAddressWithoutSlot: a machine that has an address of guests gets nothing that is meant for
// a guest that is gone, neither from the host nor through it.
func TestAddressWithoutSlot(t *testing.T) {
	w := newWorld(t, nil)
	const same, gateway = "10.71.200.1", "10.71.200.254"
	w.remote("t-same", "t-s0", same, gateway)
	for ns, via := range map[string]string{"t-same": gateway, "t-inet": "198.51.100.254"} {
		w.must(inNamespace(ns, func() error { return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(via)}) }))
	}
	if body, err := w.get("", "http://"+same); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the host's call: %q %v", body, err)
	}
	if body, err := w.getWithin(700*time.Millisecond, "t-inet", "http://"+same); err == nil {
		t.Errorf("the internet reaches it through the host: %q", body)
	}
	if _, err := w.get("t-same", "http://"+internetIP); err == nil {
		t.Error("answers to it pass through the host")
	}
}

func TestDNSAndNodeService(t *testing.T) {
	resolver := startResolver(t)
	logged := make(chan string, 1)
	w := newWorld(t, func(c *Config) {
		c.DNSUpstreams = []netip.AddrPort{resolver}
		c.KeepLog = func(_ context.Context, sandboxID string, lines []byte) error {
			logged <- sandboxID + ": " + string(lines)
			return nil
		}
	})
	w.egress(shoal.Network{})
	for _, network := range []string{"udp4", "tcp4"} {
		if answer, err := w.ask("t-guest", network, "8.8.8.8:53", arrivalTime); err != nil || len(answer.Answer) != 1 {
			t.Errorf("%s: %v %v", network, answer, err)
		}
	}
	w.egress(shoal.Network{DenyOut: []string{"0.0.0.0/0"}})
	body, err := w.get("t-guest", "http://192.0.2.1/me")
	if want := fmt.Sprintf("{\"sandboxID\":%q}\n", "sandbox-at-"+w.slot.HostIP().String()); err != nil ||
		body != want {
		t.Errorf("/me = %q %v, want %q", body, err, want)
	}
	w.must(inNamespace("t-guest", func() error {
		conn, err := net.DialTimeout("tcp4", "192.0.2.1:80", arrivalTime)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.WriteString(conn,
			"POST /logs HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
		if err == nil {
			_, err = io.Copy(io.Discard, conn)
		}
		return err
	}))
	if got, want := <-logged, "sandbox-at-"+w.slot.HostIP().String()+": {}"; got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}

func startResolver(t *testing.T) netip.AddrPort {
	t.Helper()
	packets, listener, err := listenBoth("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR("name.test. 60 IN A 198.51.100.1")
		m.Answer = append(m.Answer, rr)
		_ = w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: answer},
		{Listener: listener, Handler: answer}} {
		go func() { _ = s.ActivateAndServe() }()
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return netip.MustParseAddrPort(packets.LocalAddr().String())
}

// TestForeignDropPolicy: another table's forward chain drops packets, as Docker's does. The
// pool must still work, and leave that table as it found it.
func TestForeignDropPolicy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Name: "t-foreign", Family: nftables.TableFamilyIPv4})
	fwd := c.AddChain(chain(table, "FORWARD", nftables.ChainTypeFilter, nftables.ChainHookForward,
		nftables.ChainPriorityFilter, nftables.ChainPolicyDrop))
	c.AddRule(&nftables.Rule{Table: table, Chain: fwd, Exprs: rule(fromLink("docker0"), accept())})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		rules, err := c.GetRules(table, fwd)
		if err != nil || len(rules) != 1 {
			t.Errorf("the foreign chain has %d rules, %v; it had 1", len(rules), err)
		}
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, nil)
	w.egress(shoal.Network{})
	w.reaches("http://" + internetIP)
	w.must(w.pool.host.openForeign()) // a second call must not add the rules again
	if rules, _ := c.GetRules(table, fwd); len(rules) != 3 {
		t.Errorf("the foreign chain has %d rules, want 3", len(rules))
	}
}

func TestPoolsDoNotCollide(t *testing.T) {
	w := newWorld(t, nil)
	seen := map[int]bool{w.slot.index: true}
	var slots []*Slot
	for range 8 {
		s := w.acquire()
		if seen[s.index] {
			t.Errorf("slot %d was handed out twice", s.index)
		}
		seen[s.index] = true
		slots = append(slots, s)
	}
	adopted, err := w.pool.Adopt(slots[0].index)
	if err != nil || adopted.HostIP() != slots[0].HostIP() {
		t.Errorf("adopt: %v %v", adopted, err)
	}
	for _, s := range slots {
		w.pool.Release(s)
	}
}

// TestReclaim: a reclaim removes only what an earlier process left.
func TestReclaim(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PoolSize = 0 }) // nothing fills the pool before a reclaim
	left := w.acquire()
	if err := w.pool.Reclaim(func(index int) bool { return index == w.slot.index }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left.Namespace()); !os.IsNotExist(err) {
		t.Errorf("namespace %s is still there: %v", left.Namespace(), err)
	}
	if _, err := os.Stat(w.slot.Namespace()); err != nil {
		t.Errorf("a slot in use was removed: %v", err)
	}
}

func TestPacketSocket(t *testing.T) {
	w := newWorld(t, nil)
	s := w.acquire()
	f, err := s.PacketSocket()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	w.pool.Release(s)
}

// TestTeardownRestores: the host is the same after a teardown as before the pool.
func TestTeardownRestores(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	before := hostTables(t)
	t.Run("work", func(t *testing.T) { newWorld(t, nil) })
	if after := hostTables(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

func hostTables(t *testing.T) []string {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, table := range tables {
		list = append(list, table.Name)
	}
	links, _ := Dump(netlink.LinkList)
	for _, l := range links {
		list = append(list, l.Attrs().Name)
	}
	data, _ := os.ReadFile(forwardSetting)
	list = append(list, string(data))
	slices.Sort(list)
	return list
}
