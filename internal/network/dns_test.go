package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestQueriesAreBounded: a guest that floods the forwarder does not keep others out, and
// neither do several.
func TestQueriesAreBounded(t *testing.T) {
	queries := newQueries()
	guest := netip.MustParseAddr("10.71.0.1")
	taken := func(guest netip.Addr) (n int) {
		for queries.Take(guest, 1) {
			n++
		}
		return n
	}
	for range maxQueries / 2 / maxGuestQueries {
		if n := taken(guest); n != maxGuestQueries {
			t.Errorf("a guest has %d queries in flight", n)
		}
		guest = guest.Next()
	}
	if n := taken(guest); n != scarceQueries {
		t.Errorf("when half are taken, a guest has %d", n)
	}
	queries.Give(guest, 1)
	if !queries.Take(guest, 1) {
		t.Error("an answered query still counts")
	}
	for range maxQueries {
		guest = guest.Next()
		taken(guest)
	}
	if queries.Taken() != maxQueries {
		t.Errorf("%d queries are in flight", queries.Taken())
	}
}

// TestAnswersFit: a long answer is truncated to the size that the guest's resolver
// accepts, and marked as truncated.
func TestAnswersFit(t *testing.T) {
	query := new(dns.Msg).SetQuestion("name.test.", dns.TypeTXT)
	answer := func() *dns.Msg {
		m := new(dns.Msg).SetReply(query)
		for range 20 {
			rr, _ := dns.NewRR("name.test. 60 IN TXT " + strings.Repeat("x", 100))
			m.Answer = append(m.Answer, rr)
		}
		return m
	}
	udp, tcp, wide := answer(), answer(), answer()
	fit(udp, query, "udp")
	fit(tcp, query, "tcp")
	fit(wide, query.Copy().SetEdns0(4096, false), "udp")
	if udp.Len() > dns.MinMsgSize || !udp.Truncated {
		t.Errorf("UDP: %d bytes, truncated %v", udp.Len(), udp.Truncated)
	}
	if len(tcp.Answer) != 20 || len(wide.Answer) != 20 || wide.Truncated {
		t.Errorf("TCP has %d records, wide UDP %d; want 20", len(tcp.Answer), len(wide.Answer))
	}
}

func TestLookup(t *testing.T) {
	ask := func(kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion("name.test.", kind) }
	many := ask(dns.TypeA)
	many.Question = append(many.Question, many.Question[0])
	large := ask(dns.TypeA)
	for range 20 {
		rr, _ := dns.NewRR("name.test. 60 IN TXT " + strings.Repeat("x", 250))
		large.Extra = append(large.Extra, rr)
	}
	for name, c := range map[string]struct {
		query *dns.Msg
		want  bool
	}{
		"address": {ask(dns.TypeA), true}, "any": {ask(dns.TypeANY), true},
		"transfer": {ask(dns.TypeAXFR), false}, "update": {new(dns.Msg).SetUpdate("test."), false},
		"notify": {new(dns.Msg).SetNotify("test."), false}, "answer": {new(dns.Msg).SetReply(ask(dns.TypeA)), false},
		"two names": {many, false}, "large": {large, false},
	} {
		if got := lookup(c.query); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
