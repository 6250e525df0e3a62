package network

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	ctaFilterIPSource  = 1 << 0
	ctaFilterIPDest    = 1 << 1
	ctaFilterProtocol  = 1 << 3
)

// forgetConnections drops the host's tracked connections from and to an address. Kernels
// since 5.8 can select them; listing all connections takes 20 ms even if there are few.
func forgetConnections(addr netip.Addr) {
	if forgetMatching(nl.CTA_IP_V4_SRC, ctaFilterIPSource, addr, anyProtocol) == nil &&
		forgetMatching(nl.CTA_IP_V4_DST, ctaFilterIPDest, addr, anyProtocol) == nil {
		return
	}
	ours := net.IP(addr.AsSlice())
	forgetListed(func(f *netlink.ConntrackFlow) bool {
		return f.Forward.SrcIP.Equal(ours) || f.Forward.DstIP.Equal(ours)
	})
}

// forgetOpened drops the host's tracked TCP connections that an address has opened.
func forgetOpened(addr netip.Addr) {
	if forgetMatching(nl.CTA_IP_V4_SRC, ctaFilterIPSource, addr, unix.IPPROTO_TCP) == nil {
		return
	}
	ours := net.IP(addr.AsSlice())
	forgetListed(func(f *netlink.ConntrackFlow) bool {
		return f.Forward.SrcIP.Equal(ours) && f.Forward.Protocol == unix.IPPROTO_TCP
	})
}

// forgetListed drops those of all tracked connections that match. If the host's kernel lacks this
// interface, they time out instead.
func forgetListed(matches connectionFilter) {
	_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, matches)
}

const anyProtocol = 0

// forgetMatching drops connections by their original source or destination address, of one protocol
// or of anyProtocol. Older
// kernels expect the request to name a single connection, and refuse it as incomplete.
func forgetMatching(attribute int, flag uint32, addr netip.Addr, protocol byte) error {
	req := nl.NewNetlinkRequest(int(netlink.ConntrackTable)<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
	ip := tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(attribute, addr.AsSlice())
	if protocol != anyProtocol {
		tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil).AddRtAttr(nl.CTA_PROTO_NUM, []byte{protocol})
		flag |= ctaFilterProtocol
	}
	req.AddData(tuple)
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	filter.AddRtAttr(ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, flag))
	req.AddData(filter)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

type connectionFilter func(*netlink.ConntrackFlow) bool

var _ netlink.CustomConntrackFilter = connectionFilter(nil)

// MatchConntrackFlow selects what is deleted.
func (f connectionFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }
