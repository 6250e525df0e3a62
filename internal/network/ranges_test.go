package network

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"shoal/internal/shoal"
)

// TestRangesInUse starts a second installation with ranges of the first, and with others.
func TestRangesInUse(t *testing.T) {
	w := newWorld(t, nil)
	free := netip.MustParsePrefix("10.73.0.0/16")
	for _, c := range []struct {
		why        string
		host, veth netip.Prefix
		refused    bool
	}{
		{"both are in use", w.pool.plan.host, w.pool.plan.veth, true},
		{"the slots' addresses are in use", w.pool.plan.host, free, true},
		{"the links' addresses are in use", free, w.pool.plan.veth, true},
		{"a part is in use", netip.MustParsePrefix("10.64.0.0/12"), netip.MustParsePrefix("10.80.0.0/16"), true},
		{"the host has a wider route", netip.MustParsePrefix("198.51.100.64/27"), free, false},
		{"neither is in use", free, netip.MustParsePrefix("10.74.0.0/16"), false},
	} {
		pool, err := NewPool(Config{Name: "t2", HostCIDR: c.host, VethCIDR: c.veth, StateFile: filepath.Join(t.TempDir(), "host.json")},
			slog.New(slog.DiscardHandler))
		if err == nil {
			if err := pool.Teardown(); err != nil {
				t.Error(err)
			}
		}
		if refused := shoal.ErrNetworkRanges.Matches(err); refused != c.refused || (err != nil && !refused) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}
