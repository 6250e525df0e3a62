package outbound

import (
	"net"
	"net/netip"
	"testing"
)

func TestPermits(t *testing.T) {
	p, err := newPolicy(Config{
		Own:   []netip.Prefix{netip.MustParsePrefix("10.11.0.0/16"), netip.MustParsePrefix("45.90.0.0/16")},
		Allow: []string{"10.0.0.0/8", "192.168.7.9:5000", "registry.corp.example:5000", "Mirror.Example.", "10.11.200.0/24", "fc00::/7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, address string
		want          bool
	}{
		{"a.example", "8.8.8.8:443", true},
		{"a.example", "[2606:4700::1]:443", true},
		{"a.example", "127.0.0.1:5000", false},
		{"a.example", "127.9.9.9:5000", false},
		{"a.example", "0.0.0.0:5000", false},
		{"a.example", "172.16.0.1:80", false},
		{"a.example", "172.31.255.255:80", false},
		{"a.example", "172.32.0.1:80", true},
		{"a.example", "192.168.1.1:80", false},
		{"a.example", "100.64.0.1:80", false},
		{"a.example", "100.127.255.255:80", false},
		{"a.example", "100.128.0.1:80", true},
		{"a.example", "198.18.0.1:80", false},
		{"a.example", "224.0.0.1:80", false},
		{"a.example", "255.255.255.255:80", false},
		{"a.example", "192.0.2.1:80", false},
		// Metadata, inside private ranges and outside.
		{"a.example", "169.254.169.254:80", false},
		{"a.example", "168.63.129.16:80", false},
		{"a.example", "168.63.129.17:80", true},
		{"a.example", "192.0.0.192:80", false},
		{"a.example", "100.100.100.200:80", false},
		{"a.example", "[fd00:ec2::254]:80", false}, // although fc00::/7 is allowed
		{"a.example", "[fd20:ce::254]:80", false},
		// IPv6, and IPv4 in its clothes.
		{"a.example", "[::]:80", false},
		{"a.example", "[::1]:80", false},
		{"a.example", "[::127.0.0.1]:80", false},
		{"a.example", "[fe80::1]:80", false},
		{"a.example", "[fe80::1%eth0]:80", false},
		{"a.example", "[ff02::1]:80", false},
		{"a.example", "[fd12::1]:80", true}, // allowed
		{"a.example", "[2001::7f00:1]:80", false},
		{"a.example", "[2001:db8::1]:80", false},
		{"a.example", "[4000::1]:80", false},
		{"a.example", "[::ffff:127.0.0.1]:80", false},
		{"a.example", "[::ffff:169.254.169.254]:80", false},
		{"a.example", "[::ffff:8.8.8.8]:80", true},
		{"a.example", "[64:ff9b::7f00:1]:80", false},
		{"a.example", "[64:ff9b::a9fe:a9fe]:80", false},
		{"a.example", "[64:ff9b::808:808]:80", true},
		{"a.example", "[64:ff9b:1::808:808]:80", false},
		{"a.example", "[2002:7f00:1::]:80", false},
		{"a.example", "[2002:a83f:8110::1]:80", false},
		{"a.example", "[2002:808:808::1]:80", true},
		// What the operator allows: a wide range opens no sandboxes, a range within them does.
		{"a.example", "10.1.2.3:80", true},
		{"a.example", "10.11.0.5:80", false},
		{"a.example", "10.11.200.5:80", true},
		{"a.example", "45.90.0.5:80", false},
		{"a.example", "192.168.7.9:5000", true},
		{"a.example", "192.168.7.9:5001", false},
		{"a.example", "[::ffff:192.168.7.9]:5000", true},
		{"registry.corp.example", "192.168.1.1:5000", true},
		{"REGISTRY.corp.example.", "192.168.1.1:5000", true},
		{"registry.corp.example", "192.168.1.1:22", false},
		{"x.registry.corp.example", "192.168.1.1:5000", false},
		{"mirror.example", "127.0.0.1:80", true},
		{"mirror.example", "127.0.0.1:5000", true},
	} {
		if got := p.permits(c.host, netip.MustParseAddrPort(c.address)); got != c.want {
			t.Errorf("%s at %s: %v", c.host, c.address, got)
		}
	}
}

// TestPermitsOwnAddress: what listens at an address of this machine's is as close to it as
// its loopback, and a range that happens to contain the address does not open it.
func TestPermitsOwnAddress(t *testing.T) {
	own := ownAddress(t)
	to := netip.AddrPortFrom(own, 80)
	for _, c := range []struct {
		allow []string
		want  bool
	}{{nil, false}, {[]string{netip.PrefixFrom(own, 8).Masked().String()}, false}, {[]string{own.String()}, true}} {
		p, err := newPolicy(Config{Allow: c.allow})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.permits("a.example", to); got != c.want {
			t.Errorf("%s, allowed %v: %v", own, c.allow, got)
		}
	}
}

// ownAddress is an address of this machine that is not its loopback.
func ownAddress(t *testing.T) netip.Addr {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr()
		}
	}
	t.Skip("this machine has no address")
	return netip.Addr{}
}

func TestPermitsUnresolved(t *testing.T) {
	p, err := newPolicy(Config{Allow: []string{"registry", "10.0.0.0/8", "x.internal:5000"}})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"docker.io": true, "Registry-1.Docker.IO.": true, "8.8.8.8": true, "2606:4700::1": true,
		"127.0.0.1": false, "127.0.0.1.": false, "127.1": false, "2130706433": false, "0x7f000001": false,
		"0x7f.1": false, "0177.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "169.254.169.254": false,
		"10.2.3.4": true, "localhost": false, "LOCALHOST.": false, "a.localhost": false,
		"metadata.google.internal": false, "metadata": false, "printer.local": false,
		"①②⑦.⓪.⓪.①": false, "": false, "registry": true, "x.internal": true,
	} {
		if got := p.permitsUnresolved(host, 5000); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestParseAllow(t *testing.T) {
	for _, good := range []string{"10.0.0.0/8", "10.0.0.1", "10.0.0.1:5000", "fd00::/8", "[fd00::1]:443", "a", "a.example:1"} {
		if err := ParseAllow([]string{good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "10.0.0.0/33", "10.1", "http://a", "a/b", "a:0", "a:70000", "a:b", "-a", "*.example"} {
		if ParseAllow([]string{bad}) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
