package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestForgetConnections: only the connections from and to the address are dropped.
func TestForgetConnections(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const gone, other, peer = "198.51.100.7", "198.51.100.8", "198.51.100.9"
	t.Cleanup(func() {
		for _, a := range []string{gone, other} {
			forgetConnections(netip.MustParseAddr(a))
		}
	})
	track := func(from, to string) {
		t.Helper()
		forward := netlink.IPTuple{SrcIP: net.ParseIP(from).To4(), DstIP: net.ParseIP(to).To4(),
			Protocol: unix.IPPROTO_UDP, SrcPort: 4000, DstPort: 5000}
		back := netlink.IPTuple{SrcIP: forward.DstIP, DstIP: forward.SrcIP,
			Protocol: unix.IPPROTO_UDP, SrcPort: 5000, DstPort: 4000}
		err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET, Forward: forward, Reverse: back, TimeOut: 60})
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			t.Skip("the host's kernel tracks no connections:", err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	track(gone, peer)
	track(peer, gone)
	track(other, peer)
	track(peer, other)
	if err := forgetMatching(nl.CTA_IP_V4_SRC, ctaFilterIPSource, netip.MustParseAddr("198.51.100.1"), anyProtocol); err != nil {
		t.Errorf("this kernel cannot be asked for the connections of an address: %v", err)
	}
	forgetConnections(netip.MustParseAddr(gone))
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, f := range flows {
		ends := []string{f.Forward.SrcIP.String(), f.Forward.DstIP.String()}
		if slices.Contains(ends, gone) {
			t.Errorf("left: %v", ends)
		}
		if slices.Contains(ends, other) {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d of 2 connections of another address are left", left)
	}
}

func BenchmarkForgetConnections(b *testing.B) {
	for b.Loop() {
		forgetConnections(netip.MustParseAddr("198.51.100.7"))
	}
}
