package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// Tap puts a tap device in the place of the link to the guest, for a guest with a network card, and
// returns its name. The user with the ID, of the group with the same one, may open it, nobody else but root. Called again, it gives the
// device to another user. Slots are made without one, because most guests need none; the rules, which go by
// names and addresses, are the same for both.
func (s *Slot) Tap(uid int) (string, error) {
	err := inNamespace(s.plan.namespaceName(s.index), func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		if old, err := h.LinkByName(gatewayName); err == nil {
			if err := h.LinkDel(old); err != nil { // with its other end, if it has one
				return fmt.Errorf("remove the former link: %w", err)
			}
		}
		return addTap(h, uid)
	})
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return "", shoal.ErrFirecrackerTap.Wrap(err, "the tap device of slot %d cannot be made", s.index)
	}
	if err != nil {
		return "", shoal.ErrNetworkSetup.Wrap(err, "the tap device of slot %d cannot be made", s.index)
	}
	return gatewayName, nil
}

func addTap(h *netlink.Handle, uid int) error {
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: gatewayName}, Mode: netlink.TUNTAP_MODE_TAP,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR, Owner: uint32(uid), Group: uint32(uid)}
	if err := h.LinkAdd(tap); err != nil {
		return fmt.Errorf("add the tap device: %w", err)
	}
	link, err := h.LinkByName(gatewayName)
	if err != nil {
		return err
	}
	if err := errors.Join(h.LinkSetHardwareAddr(link, gatewayMAC), h.LinkSetMTU(link, linkMTU)); err != nil {
		return fmt.Errorf("set up the tap device: %w", err)
	}
	if err := address(h, gatewayName, gatewayIP, linkBits); err != nil {
		return err
	}
	if err := up(h, gatewayName); err != nil {
		return err
	}
	return neighbor(h, gatewayName, guestIP, guestMAC)
}
