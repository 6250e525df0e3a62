package network

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"

	"shoal/internal/shoal"
)

// ForeignRoute is a route of the host that overlaps an installation's ranges and is not one of its own.
type ForeignRoute struct {
	Destination netip.Prefix
	// Link is the name of the interface that the route leads to, empty if it has none.
	Link string
	// Range is the one of the installation's ranges that the route overlaps.
	Range netip.Prefix
}

func (r ForeignRoute) String() string {
	if r.Link == "" {
		return fmt.Sprintf("%s overlaps the host's route to %s", r.Range, r.Destination)
	}
	return fmt.Sprintf("%s overlaps the host's route to %s by %s", r.Range, r.Destination, r.Link)
}

// Within reports whether the route is for addresses of the range alone. Slots cannot have these
// addresses. A wider route is only hidden from the host where slots have addresses of it.
func (r ForeignRoute) Within() bool {
	return r.Destination.Bits() >= r.Range.Bits()
}

// ForeignRoutes lists the host's routes that overlap the ranges of the installation with the name.
func ForeignRoutes(name string, host, veth netip.Prefix) ([]ForeignRoute, error) {
	p, err := newPlan(name, host, veth)
	if err != nil {
		return nil, err
	}
	return p.foreignRoutes()
}

func (p plan) foreignRoutes() ([]ForeignRoute, error) {
	routes, err := Dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	var foreign []ForeignRoute
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			continue
		}
		addr, good := netip.AddrFromSlice(r.Dst.IP.To4())
		if !good {
			continue
		}
		ones, _ := r.Dst.Mask.Size()
		found := ForeignRoute{Destination: netip.PrefixFrom(addr, ones)}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			found.Link = link.Attrs().Name
		}
		if strings.HasPrefix(found.Link, p.linkPrefix()) {
			continue
		}
		for _, found.Range = range []netip.Prefix{p.host, p.veth} {
			if found.Range.Overlaps(found.Destination) {
				foreign = append(foreign, found)
			}
		}
	}
	return foreign, nil
}

// checkFree refuses ranges of which something else on the host has addresses, such as another
// installation of Shoal: packets for one's guests would reach the other's, or nobody.
func (p plan) checkFree() error {
	routes, err := p.foreignRoutes()
	if err != nil {
		return shoal.ErrNetworkSetup.Wrap(err, "the address ranges cannot be checked")
	}
	for _, r := range routes {
		if r.Within() {
			return shoal.ErrNetworkRanges.New("%s", r)
		}
	}
	return nil
}
