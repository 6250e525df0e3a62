package shares

import (
	"net/netip"
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	r := Rates[string]{PerSecond: 10, Burst: 3, Takers: 2}
	now := time.Unix(1, 0)
	take := func(taker string, want int) {
		t.Helper()
		got := 0
		for range 10 {
			if r.takeAt(taker, now) {
				got++
			}
		}
		if got != want {
			t.Errorf("%s got %d, want %d", taker, got, want)
		}
	}
	take("a", 3)
	take("b", 3)
	take("c", 3) // beyond those that are told apart
	take("d", 0) // they share
	now = now.Add(200 * time.Millisecond)
	take("a", 2)
	now = now.Add(time.Hour)
	take("c", 3) // those that were full again are forgotten
	if len(r.takers) > 2 {
		t.Errorf("%d are told apart", len(r.takers))
	}
}

func TestGiveBack(t *testing.T) {
	r := Rates[string]{PerSecond: 1e-9, Burst: 1, Takers: 8}
	for range 5 {
		if !r.Take("a") {
			t.Fatal("what was given back is not there")
		}
		r.Give("a")
	}
	r.Give("a")
	if !r.Take("a") || r.Take("a") {
		t.Error("more was given back than there can be")
	}
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::"} {
		if got := SourceOf(netip.MustParseAddr(addr)); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s", addr, got)
		}
	}
}
