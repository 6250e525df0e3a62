package network

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"shoal/internal/shoal"
)

// query asks the guest's resolver, once: nothing may be lost below the rate that slots have.
func (n *namedWorld) query(name string, kind uint16) (*dns.Msg, error) {
	c, err := n.dialUDP(resolverIP.String() + ":53")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	client := &dns.Client{Timeout: 3 * time.Second}
	answer, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), &dns.Conn{Conn: c})
	return answer, err
}

// TestTunnels: names that no rule is about are looked up rarely, and tell little.
func TestTunnels(t *testing.T) {
	n := newNamedWorld(t)
	n.zone.set("allowed.test", internetIP)
	n.zone.set("evil.test", otherIP)
	n.policy(only("allowed.test", "*.allowed.test"))
	if a, err := n.query("evil.test", dns.TypeA); err != nil || len(a.Answer) != 1 {
		t.Errorf("an address of a strange name: %v %v", a, err)
	}
	for _, c := range []struct {
		name string
		kind uint16
		want int
	}{
		{"allowed.test", dns.TypeTXT, dns.RcodeSuccess},
		{"evil.test", dns.TypeTXT, dns.RcodeRefused}, {"evil.test", dns.TypeNULL, dns.RcodeRefused},
		{"evil.test", dns.TypeCNAME, dns.RcodeRefused},
		{strings.Repeat(strings.Repeat("x", 40)+".", 4) + "evil.test", dns.TypeA, dns.RcodeRefused},
	} {
		if a, err := n.query(c.name, c.kind); err != nil || a.Rcode != c.want {
			t.Errorf("%.30s of type %d: %v, %v", c.name, c.kind, a, err)
		}
	}
	passed := 0
	// With what else is asked here, it is fewer than a slot passes at once: what is beyond is lost.
	for i := range maxQueryBurst - 50 {
		a, err := n.query(fmt.Sprintf("%s%d.evil.test", strings.Repeat("x", 50), i), dns.TypeA)
		if err != nil {
			t.Fatalf("query %d: %v", i, err)
		}
		if a.Rcode != dns.RcodeRefused {
			passed++
		}
	}
	if most := int(strangeRate.Burst)/60 + 60; passed == 0 || passed > most {
		t.Errorf("%d names were passed on, want %d at most", passed, most)
	}
	if a, err := n.query("allowed.test", dns.TypeA); err != nil || len(a.Answer) != 1 {
		t.Errorf("an allowed name after that: %v %v", a, err)
	}
	none := only("allowed.test")
	none.DNSServers = []string{}
	n.policy(none)
	if a, err := n.query("allowed.test", dns.TypeA); err != nil || a.Rcode != dns.RcodeRefused {
		t.Errorf("without DNS servers: %v, %v", a, err)
	}
	if c, err := n.dial(resolverIP.String() + ":53"); err == nil {
		c.Close()
		t.Error("without DNS servers the forwarder takes TCP")
	}
	if _, err := n.http(otherIP+":80", "allowed.test"); err != nil {
		t.Errorf("the process looks names up all the same: %v", err)
	}
	n.policy(shoal.Network{Transforms: map[string]shoal.Transform{"allowed.test": {}}})
	if a, err := n.query("evil.test", dns.TypeTXT); err != nil || a.Rcode == dns.RcodeRefused {
		t.Errorf("without rules about domains: %v %v", a, err)
	}
	n.zone.mu.Lock()
	defer n.zone.mu.Unlock()
	if slices.ContainsFunc(n.zone.asked, func(name string) bool { return len(name) > maxStrangeName+1 }) {
		t.Error("a long strange name was passed on")
	}
}
