package network

import (
	"net/netip"
	"testing"

	"shoal/internal/shoal"
)

func TestParsePolicy(t *testing.T) {
	all := "0.0.0.0/0"
	for _, c := range []struct {
		name        string
		allow, deny []string
		err         string // "" = accepted
	}{
		{"empty", nil, nil, ""},
		{"addresses and ranges", []string{"1.1.1.1", "9.9.9.0/24"}, []string{"8.8.8.8", all, all}, ""},
		{"private ranges may be named", nil, []string{"10.0.0.0/8", "192.168.0.0/16"}, ""},
		{"domain denied", nil, []string{"example.com"}, "invalid denied CIDR example.com"},
		{"garbage denied next to all", nil, []string{all, "not-an-ip/99"}, "invalid denied CIDR not-an-ip/99"},
		{"unspecified address", nil, []string{"0.0.0.0"}, "invalid denied CIDR 0.0.0.0"},
		{"unspecified range", nil, []string{"0.0.0.0/8"}, "invalid denied CIDR 0.0.0.0/8"},
		{"garbage allowed", []string{"bad domain!"}, nil, "invalid allowed address bad domain!"},
		{"IPv6", []string{"::1"}, nil, "invalid allowed address ::1"},
		{"domain without deny", []string{"example.com"}, nil, "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."},
		{"wildcard with partial deny", []string{"*.example.com", "1.1.1.1"}, []string{"8.8.8.8"}, "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."},
		{"domain with deny", []string{"example.com", "*.Example.com", "*"}, []string{all}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParsePolicy(shoal.Network{AllowOut: c.allow, DenyOut: c.deny})
			if got := message(err); got != c.err {
				t.Errorf("error %q, want %q", got, c.err)
			}
		})
	}
}

func TestPolicyIsBounded(t *testing.T) {
	var list []string
	for i := range MaxRules {
		list = append(list, netip.AddrFrom4([4]byte{8, byte(i >> 8), byte(i), 9}).String())
	}
	if _, err := ParsePolicy(shoal.Network{DenyOut: list[1:], AllowOut: list[:1]}); err != nil {
		t.Error(err)
	}
	if _, err := ParsePolicy(shoal.Network{DenyOut: list, AllowOut: list[:1]}); !shoal.ErrNetworkPolicy.Matches(err) {
		t.Errorf("one more: %v", err)
	}
}

func TestEgressEqual(t *testing.T) {
	no, yes := false, true
	open := shoal.Network{}
	for _, c := range []struct {
		name string
		a, b shoal.Network
		want bool
	}{
		{"nothing asked for", open, open, true},
		{"nothing, said in other words", open, shoal.Network{AllowOut: []string{}, DenyOut: []string{}, AllowInternet: &yes}, true},
		{"no internet", shoal.Network{AllowInternet: &no}, shoal.Network{DenyOut: []string{"0.0.0.0/0"}}, true},
		{"no internet and open", shoal.Network{AllowInternet: &no}, open, false},
		{"another order, twice", shoal.Network{DenyOut: []string{"1.1.1.1", "8.8.8.0/24"}}, shoal.Network{DenyOut: []string{"8.8.8.8", "8.8.8.0/24", "1.1.1.1"}}, true},
		{"two halves", shoal.Network{AllowOut: []string{"8.8.8.0/25", "8.8.8.128/25"}}, shoal.Network{AllowOut: []string{"8.8.8.0/24"}}, true},
		{"another address", shoal.Network{DenyOut: []string{"1.1.1.1"}}, shoal.Network{DenyOut: []string{"1.1.1.2"}}, false},
		{"allowed and denied", shoal.Network{AllowOut: []string{"1.1.1.1"}}, shoal.Network{DenyOut: []string{"1.1.1.1"}}, false},
	} {
		a, errA := ParsePolicy(c.a)
		b, errB := ParsePolicy(c.b)
		if errA != nil || errB != nil {
			t.Fatal(c.name, errA, errB)
		}
		if a.Equal(b) != c.want || b.Equal(a) != c.want {
			t.Errorf("%s: equal is not %v", c.name, c.want)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return shoal.AsError(err).Message
}

func TestElementsMerge(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want int // elements
	}{
		{nil, 0},
		{[]string{"0.0.0.0/0"}, 1},
		{[]string{"1.1.1.1/32"}, 2},
		{[]string{"10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"}, 2}, // one span
		{[]string{"224.0.0.0/4", "240.0.0.0/4"}, 1},
		{[]string{"1.0.0.0/8", "3.0.0.0/8"}, 4},
	} {
		if got := elements(prefixes(c.in...)); len(got) != c.want {
			t.Errorf("%v: %d elements, want %d", c.in, len(got), c.want)
		}
	}
}
