package egress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestDecide is the order of runtime.md §2.3: names, then allowed addresses, then denied ones.
func TestDecide(t *testing.T) {
	p := &Policy{Domains: []string{"a.test", "*.b.test"}, Allow: []netip.Prefix{netip.MustParsePrefix("1.1.1.0/24")},
		Deny: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	for _, c := range []struct {
		name, address string
		want          verdict
	}{
		{"a.test", "9.9.9.9", allowedName},
		{"a.test", "1.1.1.1", allowedName},
		{"x.a.test", "9.9.9.9", denied},
		{"x.b.test", "9.9.9.9", allowedName},
		{"y.x.b.test", "9.9.9.9", allowedName},
		{"b.test", "9.9.9.9", denied},
		{"xb.test", "9.9.9.9", denied},
		{".b.test", "9.9.9.9", denied},
		{"", "9.9.9.9", denied},
		{"", "1.1.1.1", allowedAddress},
		{"c.test", "1.1.1.1", allowedAddress},
	} {
		if got := p.decide(c.name, netip.MustParseAddr(c.address)); got != c.want {
			t.Errorf("%q at %s: %d, want %d", c.name, c.address, got, c.want)
		}
	}
	every := &Policy{Domains: []string{"*"}, Deny: p.Deny}
	if every.decide("x.test", netip.MustParseAddr("9.9.9.9")) != allowedName ||
		every.decide("", netip.MustParseAddr("9.9.9.9")) != denied {
		t.Error("* is not for all names and nothing else")
	}
	if (&Policy{}).decide("x.test", netip.MustParseAddr("9.9.9.9")) != allowedAddress {
		t.Error("without rules a connection goes elsewhere than it was sent to")
	}
}

// TestEncryptedIsNamed: what is denied for an encrypted greeting alone is told apart, by the name in
// the clear, from what no name would have allowed.
func TestEncryptedIsNamed(t *testing.T) {
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	p := &Policy{SandboxID: "i1", Domains: []string{"allowed.test"}, Deny: everything,
		Transforms: map[string]shoal.Transform{"ended.test": {Headers: map[string]string{"a": "b"}}}}
	for _, test := range []struct {
		said    greetings
		outcome shoal.EgressOutcome // empty: it is not denied
		target  string
	}{
		{greetings{name: "allowed.test", tls: true}, "", ""},
		{greetings{name: "allowed.test", tls: true, hidden: true}, shoal.EgressEncrypted, "allowed.test"},
		{greetings{name: "other.test", tls: true, hidden: true}, shoal.EgressDenied, "9.9.9.9"},
		{greetings{name: "other.test", tls: true}, shoal.EgressDenied, "other.test"},
		{greetings{tls: true, hidden: true}, shoal.EgressDenied, "9.9.9.9"},
		{greetings{name: "ended.test", tls: true, hidden: true}, shoal.EgressDenied, "ended.test"},
	} {
		c := &connection{to: netip.MustParseAddrPort("9.9.9.9:443")}
		if c.settle(p, test.said); (c.verdict == denied) != (test.outcome != "") {
			t.Errorf("%+v: verdict %d", test.said, c.verdict)
		}
		if c.verdict != denied {
			continue
		}
		l := newCounts()
		l.add(c, c.refusal())
		if got := l.take(); len(got) != 1 || got[0].Outcome != test.outcome || got[0].Target != test.target {
			t.Errorf("%+v: %+v", test.said, got)
		}
	}
	ended := &Policy{Domains: []string{"ended.test"}, Deny: everything, Transforms: p.Transforms}
	c := &connection{to: netip.MustParseAddrPort("9.9.9.9:443")}
	if c.settle(ended, greetings{name: "ended.test", tls: true, hidden: true}); c.verdict != allowedName {
		t.Error("a transform does not allow what ends here, where the name in the clear is the one that counts")
	}
}

// TestCounts: what waits to be collected is bounded, for a sandbox and in all.
func TestCounts(t *testing.T) {
	l, now := newCounts(), time.Now()
	one := &Policy{SandboxID: "i1", TeamID: "t"}
	for i := range 2 * maxSandboxRecords {
		l.count(one, fmt.Sprintf("%d.test", i), 443, shoal.EgressDenied, now)
	}
	l.count(&Policy{SandboxID: "i2"}, "a.test", 80, shoal.EgressAllowed, now)
	l.count(&Policy{SandboxID: "i2"}, "a.test", 80, shoal.EgressAllowed, now)
	list, sum := l.take(), int64(0)
	for _, r := range list {
		if sum += r.Count; r.SandboxID == "i2" && (r.Count != 2 || r.Target != "a.test" || r.Minute.Second() != 0) {
			t.Errorf("%+v", r)
		}
	}
	if len(list) > maxSandboxRecords+2 || sum != 2*maxSandboxRecords+2 {
		t.Errorf("%d records of %d connections", len(list), sum)
	}
	if len(l.take()) != 0 {
		t.Error("what was taken is there again")
	}
	for i := range maxRecords + 100 {
		l.count(&Policy{SandboxID: fmt.Sprint("i", i)}, strings.Repeat("x", 8), 443, shoal.EgressDenied, now)
	}
	if n := len(l.take()); n > maxRecords {
		t.Errorf("%d records wait", n)
	}
}
