package guest

import (
	"net/netip"

	"shoal/internal/network"
	"shoal/internal/runtime"
)

// LinkOf describes a slot to a runtime.
func LinkOf(slot *network.Slot) runtime.Link {
	l := slot.Link()
	return runtime.Link{
		Address: netip.PrefixFrom(l.GuestIP, l.PrefixLen), Gateway: l.Gateway,
		MAC: l.GuestMAC, MTU: l.MTU,
		Namespace: slot.Namespace(), PacketSocket: slot.PacketSocket, Tap: slot.Tap,
	}
}
