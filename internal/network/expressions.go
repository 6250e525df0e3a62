package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// words are expressions of a rule. The functions below return words; rule joins them.
type words = []expr.Any

func rule(parts ...words) words {
	var all words
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// fromLink and toLink match interface names by prefix.
func fromLink(prefix string) words { return nameIs(expr.MetaKeyIIFNAME, prefix, expr.CmpOpEq) }
func toLink(prefix string) words   { return nameIs(expr.MetaKeyOIFNAME, prefix, expr.CmpOpEq) }
func notFromLink(prefix string) words {
	return nameIs(expr.MetaKeyIIFNAME, prefix, expr.CmpOpNeq)
}
func notToLink(prefix string) words { return nameIs(expr.MetaKeyOIFNAME, prefix, expr.CmpOpNeq) }

// exactly returns a prefix that matches only the whole name.
func exactly(name string) string { return name + "\x00" }

func nameIs(key expr.MetaKey, prefix string, op expr.CmpOp) words {
	return words{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte(prefix)}}
}

func source(op expr.CmpOp, ip netip.Addr) words {
	return words{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Cmp{Op: op, Register: 1, Data: ip.AsSlice()}}
}

func destination(ip netip.Addr) words {
	return words{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ip.AsSlice()}}
}

func sourceIn(set *nftables.Set) words      { return addressIn(set, 12) }
func destinationIn(set *nftables.Set) words { return addressIn(set, 16) }

func addressIn(set *nftables.Set, offset uint32) words {
	return words{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}}
}

func sourceWithin(p netip.Prefix) words      { return addressWithin(p, 12) }
func destinationWithin(p netip.Prefix) words { return addressWithin(p, 16) }

func addressWithin(p netip.Prefix, offset uint32) words {
	mask := ipNet(p.Addr(), p.Bits()).Mask
	return words{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()}}
}

func protocol(number byte) words {
	return words{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}
}

func toPort(proto byte, port uint16) words {
	return rule(protocol(proto), words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)}})
}

// inState matches packets whose connection is in one of the states, CtStateBit… values.
func inState(bits uint32) words {
	return words{&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
}

// established matches packets of known connections.
func established() words { return inState(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED) }

// answering matches packets of known connections that go to the side that opened them.
func answering() words {
	const reply = 1 // IP_CT_DIR_REPLY
	return rule(established(), words{
		&expr.Ct{Register: 1, Key: expr.CtKeyDIRECTION},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{reply}}})
}

// translated matches packets whose destination was rewritten on the way in.
func translated() words {
	const ipsDstNat = 1 << 5 // the bit IPS_DST_NAT in the connection's status
	return words{&expr.Ct{Register: 1, Key: expr.CtKeySTATUS},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(ipsDstNat), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
}

// moreThan matches new connections beyond the given number of open ones.
func moreThan(connections uint32) words {
	return rule(inState(expr.CtStateBitNEW),
		words{&expr.Connlimit{Count: connections, Flags: expr.NFT_CONNLIMIT_F_INV}})
}

// faster matches packets beyond so many in a second, with a burst at first.
func faster(rate uint64, burst uint32) words {
	return words{&expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: burst, Over: true}}
}

// counted adds a counter, as iptables does in each of its rules.
func counted() words { return words{&expr.Counter{}} }

func accept() words { return words{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() words   { return words{&expr.Verdict{Kind: expr.VerdictDrop}} }

// goTo continues with another chain, and does not come back.
func goTo(chain string) words { return words{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}} }

// reset refuses a TCP connection, and prohibit any other packet, so that the sender learns
// of it at once.
func reset() words { return words{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }
func prohibit() words {
	const communicationProhibited = 13 // ICMP code (RFC 1812 section 5.2.7.1)
	return words{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: communicationProhibited}}
}

func masquerade() words { return words{&expr.Masq{}} }

func rewrite(kind expr.NATType, ip netip.Addr) words {
	return words{&expr.Immediate{Register: 1, Data: ip.AsSlice()},
		&expr.NAT{Type: kind, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}}
}

func redirectTo(port uint16) words {
	return words{&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: 1}}
}

// chain describes a base chain.
func chain(t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook,
	priority *nftables.ChainPriority, policy nftables.ChainPolicy) *nftables.Chain {
	return &nftables.Chain{
		Table:    t,
		Name:     name,
		Type:     kind,
		Hooknum:  hook,
		Priority: priority,
		Policy:   &policy,
	}
}
