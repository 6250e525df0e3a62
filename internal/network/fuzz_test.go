package network

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// FuzzPolicy holds a policy's ranges, as the host's kernel gets them, to cover what was asked for
// and nothing besides, and a policy to equal itself in other words. Entries are separated
// by commas.
func FuzzPolicy(f *testing.F) {
	f.Add("", "", false, uint32(0))
	f.Add("1.1.1.1,9.9.9.0/24", "0.0.0.0/0", false, uint32(0x01010101))
	f.Add("10.0.0.0/8,10.1.0.0/16,11.0.0.0/8", "255.255.255.255,128.0.0.0/1", true, uint32(0x0affffff))
	f.Add("example.com", "0.0.0.0/0", false, uint32(0))
	f.Add("::1,0.0.0.0,1.2.3.4/33,01.2.3.4", " 8.8.8.8 ,::ffff:1.2.3.4/120", false, uint32(1))
	f.Fuzz(func(t *testing.T, allow, deny string, closed bool, probe uint32) {
		asked := shoal.Network{AllowOut: entries(allow), DenyOut: entries(deny)}
		if closed {
			internet := false
			asked.AllowInternet = &internet
		}
		policy, err := ParsePolicy(asked)
		if err != nil {
			if !policy.Equal(Egress{}) {
				t.Errorf("refused (%v), but %+v", err, policy)
			}
			return
		}
		if closed && !slices.Contains(policy.deny, everything) {
			t.Errorf("no internet, but only this is denied: %v", policy.deny)
		}
		addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, probe)))
		for _, ranges := range [][]netip.Prefix{policy.allow, policy.deny} {
			covers := func(p netip.Prefix) bool { return p.Contains(addr) }
			within := func(s span) bool { return s.first <= probe && probe <= s.last }
			spans := merge(ranges)
			if slices.ContainsFunc(ranges, covers) != slices.ContainsFunc(spans, within) {
				t.Errorf("%v and %v disagree about %s", ranges, spans, addr)
			}
			for i, s := range spans {
				if s.first > s.last || i > 0 && uint64(s.first) <= uint64(spans[i-1].last)+1 {
					t.Errorf("%v become %v", ranges, spans)
				}
			}
		}
		allowed := texts(policy.allow)
		if policy.names != nil {
			allowed = append(allowed, policy.names.Domains...)
		}
		again, err := ParsePolicy(shoal.Network{AllowOut: allowed, DenyOut: texts(policy.deny)})
		if err != nil || !again.Equal(policy) {
			t.Errorf("%+v, and in other words %+v (%v)", policy, again, err)
		}
	})
}

func entries(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// texts writes ranges in reverse order. What begins with the unspecified address is written
// by another one: clients may name that only for everything.
func texts(ranges []netip.Prefix) []string {
	var list []string
	for _, p := range slices.Backward(ranges) {
		if p.Addr().IsUnspecified() && p != everything {
			p = netip.PrefixFrom(p.Addr().Next(), p.Bits())
		}
		list = append(list, p.String())
	}
	return list
}
