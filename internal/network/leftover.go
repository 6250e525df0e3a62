package network

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// Existing returns how many slots of an installation's name the host has, also of processes that
// have ended. It changes nothing.
func Existing(name string, host, veth netip.Prefix) (int, error) {
	p, err := newPlan(name, host, veth)
	if err != nil {
		return 0, err
	}
	indexes, err := p.existing()
	return len(indexes), err
}

// existing lists the indexes that have a namespace or a link. A link remains after its
// namespace's name is removed, as long as an exiting sandbox kernel holds its socket.
func (p plan) existing() ([]int, error) {
	entries, err := os.ReadDir(namespaceDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	links, err := Dump(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	found := map[int]bool{}
	add := func(name, prefix string) {
		if number, ours := strings.CutPrefix(name, prefix); ours {
			if index, err := strconv.Atoi(number); err == nil && index > 0 {
				found[index] = true
			}
		}
	}
	for _, e := range entries {
		add(e.Name(), p.namespacePrefix())
	}
	for _, l := range links {
		add(l.Attrs().Name, p.linkPrefix())
	}
	return slices.Sorted(maps.Keys(found)), nil
}
