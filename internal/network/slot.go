package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shoal/internal/egress"
	"shoal/internal/shoal"
)

// Slot is one sandbox's place on the network.
type Slot struct {
	index int
	plan  plan
	// allowInternal are the private ranges that the operator has opened.
	allowInternal []netip.Prefix
	host          *host
	steward       *egress.Steward // nil where nothing is decided by name
}

// Index identifies the slot on this machine; the first is 1.
func (s *Slot) Index() int { return s.index }

// HostIP is the address at which the host reaches every port of the guest.
func (s *Slot) HostIP() netip.Addr { return s.plan.hostIP(s.index) }

// Namespace is the path of the slot's network namespace.
func (s *Slot) Namespace() string {
	return filepath.Join(namespaceDir, s.plan.namespaceName(s.index))
}

// Link describes the guest's interface.
func (s *Slot) Link() Link {
	return Link{GuestIP: guestIP, PrefixLen: linkBits, Gateway: gatewayIP, GuestMAC: guestMAC, MTU: linkMTU}
}

// create makes the slot's namespace, links, addresses, routes and rules.
func (s *Slot) create() error {
	err := createNamespace(s.plan.namespaceName(s.index), func(host int) error {
		if err := s.configure(host); err != nil {
			return err
		}
		return s.installRules()
	})
	if errors.Is(err, os.ErrExist) {
		return err
	}
	if err == nil {
		err = s.connectHost()
	}
	if err != nil {
		return errors.Join(shoal.ErrNetworkSetup.Wrap(err, "network slot %d cannot be made", s.index), s.remove())
	}
	return nil
}

// configure runs inside the new namespace. host is the descriptor of the host's namespace.
func (s *Slot) configure(host int) error {
	for _, setting := range [][2]string{
		{"ipv6/conf/all/disable_ipv6", "1"},
		{"ipv6/conf/default/disable_ipv6", "1"},
		{"ipv4/ip_forward", "1"},
		{"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/conf/all/rp_filter", "0"},
		// The host's kernel would tell a guest only once a second that it may not reach something.
		// Without bit 3, of unreachable destinations, the slot's rules alone bound that
		// (maxRefusalRate).
		{"ipv4/icmp_ratemask", "6160"},
	} {
		err := os.WriteFile("/proc/sys/net/"+setting[0], []byte(setting[1]), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // not there if the host's kernel lacks IPv6
			return err
		}
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := up(h, "lo"); err != nil {
		return err
	}
	if err := h.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: hostLinkName, MTU: linkMTU, HardwareAddr: s.plan.vethPeerMAC(s.index)},
		PeerName:  s.plan.linkName(s.index), PeerNamespace: netlink.NsFd(host),
		PeerHardwareAddr: s.plan.vethHostMAC(s.index),
	}); err != nil {
		return fmt.Errorf("add the link to the host: %w", err)
	}
	if err := h.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: gatewayName, MTU: linkMTU, HardwareAddr: gatewayMAC},
		PeerName:  guestName,
	}); err != nil {
		return fmt.Errorf("add the link to the guest: %w", err)
	}
	if err := address(h, hostLinkName, s.plan.vethPeer(s.index), 31); err != nil {
		return err
	}
	if err := address(h, gatewayName, gatewayIP, linkBits); err != nil {
		return err
	}
	if err := s.quietGuestEnd(h); err != nil {
		return err
	}
	for _, name := range []string{hostLinkName, gatewayName, guestName} {
		if err := up(h, name); err != nil {
			return err
		}
	}
	// The neighbors are entered here, because learning them takes a second if an answer is lost.
	if err := neighbor(h, gatewayName, guestIP, guestMAC); err != nil {
		return err
	}
	if err := neighbor(h, hostLinkName, s.plan.vethHost(s.index), s.plan.vethHostMAC(s.index)); err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{Gw: s.plan.vethHost(s.index).AsSlice()})
}

// quietGuestEnd keeps the host's kernel from answering ARP on g1, where only the packet
// socket listens. Frames for the guest carry its MAC address, not g1's.
func (s *Slot) quietGuestEnd(h *netlink.Handle) error {
	link, err := h.LinkByName(guestName)
	if err != nil {
		return err
	}
	return h.LinkSetARPOff(link)
}

// connectHost gives the host's end its address, and adds the route to the slot. The slot's
// rules recognize the host by the route's source address.
func (s *Slot) connectHost() error {
	link, err := netlink.LinkByName(s.plan.linkName(s.index))
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(s.plan.vethHost(s.index), 31)}); err != nil {
		return fmt.Errorf("address the host's link: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index,
		Dst: ipNet(s.HostIP(), 32), Gw: s.plan.vethPeer(s.index).AsSlice(),
		Src: s.plan.vethHost(s.index).AsSlice()}); err != nil {
		return fmt.Errorf("route to the slot: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return neighbor(h, s.plan.linkName(s.index), s.plan.vethPeer(s.index), s.plan.vethPeerMAC(s.index))
}

// remove deletes the slot. It deletes the link explicitly, because an exiting sandbox
// kernel's socket may keep the namespace, and so the link, alive.
func (s *Slot) remove() error {
	var errs error
	if link, err := netlink.LinkByName(s.plan.linkName(s.index)); err == nil {
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = fmt.Errorf("delete link: %w", err)
		}
	}
	errs = errors.Join(errs, removeNamespace(s.plan.namespaceName(s.index)), s.unname(context.Background()))
	forgetConnections(s.HostIP()) // so that the next sandbox at this address gets none of their packets
	return errs
}

// PacketSocket opens the guest's end of the link for a sandbox kernel. Frames carry
// virtio-net headers, for segmentation offload.
func (s *Slot) PacketSocket() (*os.File, error) {
	var socket *os.File
	err := inNamespace(s.plan.namespaceName(s.index), func() error {
		link, err := net.InterfaceByName(guestName)
		if err != nil {
			return err
		}
		// With protocol 0 the socket receives nothing before it is bound, and the host's kernel
		// need not wait when it is.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		socket = os.NewFile(uintptr(fd), "guest-link")
		_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1) // faster, where supported
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		const buffer = 4 << 20 // bytes
		for _, option := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, buffer); err != nil {
				return err
			}
		}
		const allProtocols = 0x0300 // ETH_P_ALL in network order
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: link.Index})
	})
	if err != nil {
		if socket != nil {
			socket.Close()
		}
		return nil, shoal.ErrNetworkSetup.Wrap(err, "the guest's link of slot %d cannot be opened", s.index)
	}
	return socket, nil
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}

func address(h *netlink.Handle, name string, ip netip.Addr, bits int) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(ip, bits)}); err != nil {
		return fmt.Errorf("address link %s: %w", name, err)
	}
	return nil
}

// neighbor adds a permanent neighbor entry for the other end of a link.
func neighbor(h *netlink.Handle, name string, ip netip.Addr, mac net.HardwareAddr) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: ip.AsSlice(), HardwareAddr: mac, Family: unix.AF_INET}); err != nil {
		return fmt.Errorf("add neighbor %s of %s: %w", ip, name, err)
	}
	return nil
}

func ipNet(ip netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}
