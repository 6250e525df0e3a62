package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

const forwardSetting = "/proc/sys/net/ipv4/ip_forward"

// host is what all slots share on the host: IP forwarding, and one table with a constant
// number of rules, which match slots by the prefix of their links' names.
type host struct {
	plan  plan
	state string // file that remembers what to put back
	// mounted means that this process made the directory of namespaces a mount.
	mounted bool
}

// hostState is the host's state before Shoal changed it.
type hostState struct {
	Forward string `json:"ipForward"`
	// Mounted means that the directory of namespaces was not a mount.
	Mounted bool `json:"namespacesMounted,omitempty"`
}

// install recreates the host's table and turns forwarding on. dns and hyperloop are the
// ports of the host at which those services listen.
func (h *host) install(dns, hyperloop uint16) error {
	if err := h.enableForwarding(); err != nil {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: h.plan.table(), Family: nftables.TableFamilyIPv4}
	// Deleting a missing table would fail, so the table is added first. Flush applies
	// everything at once.
	c.AddTable(t)
	c.DelTable(t)
	t = c.AddTable(t)
	add := func(ch *nftables.Chain, parts ...words) {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: rule(parts...)})
	}
	slot := fromLink(h.plan.linkPrefix())

	in := c.AddChain(chain(t, "prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting,
		nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept))
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		add(in, slot, toPort(proto, 53), redirectTo(dns))
	}
	add(in, slot, destination(hyperloopIP), toPort(unix.IPPROTO_TCP, 80), redirectTo(hyperloop))

	self := c.AddChain(chain(t, "input", nftables.ChainTypeFilter, nftables.ChainHookInput,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept))
	add(self, slot, established(), accept())
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		add(self, slot, toPort(proto, dns), accept())
		add(self, notFromLink(h.plan.linkPrefix()), notFromLink(exactly("lo")), toPort(proto, dns), drop())
	}
	add(self, slot, toPort(unix.IPPROTO_TCP, hyperloop), accept())
	add(self, notFromLink(h.plan.linkPrefix()), notFromLink(exactly("lo")),
		toPort(unix.IPPROTO_TCP, hyperloop), drop())
	add(self, slot, drop())

	fwd := c.AddChain(chain(t, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward,
		nftables.ChainPriorityFilter, nftables.ChainPolicyAccept))
	add(fwd, slot, toLink(h.plan.linkPrefix()), drop())
	add(fwd, slot, accept())
	add(fwd, toLink(h.plan.linkPrefix()), established(), accept())
	add(fwd, toLink(h.plan.linkPrefix()), drop())

	out := c.AddChain(chain(t, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting,
		nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept))
	add(out, sourceWithin(h.plan.host), notToLink(h.plan.linkPrefix()), masquerade())
	if err := c.Flush(); err != nil {
		return fmt.Errorf("install the host's rules: %w", err)
	}
	return nil
}

// mend restores what other programs have removed. A restart of the nftables service
// flushes every table, and Docker rewrites its chains.
func (h *host) mend(dns, hyperloop uint16) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	there := slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == h.plan.table() })
	if !there {
		err = h.install(dns, hyperloop)
	} else {
		err = h.enableForwarding()
	}
	return errors.Join(err, h.openForeign())
}

// enableForwarding turns IP forwarding on, after saving the host's own setting.
func (h *host) enableForwarding() error {
	data, err := os.ReadFile(forwardSetting)
	if err != nil {
		return err
	}
	value := strings.TrimSpace(string(data))
	if _, err := os.Stat(h.state); errors.Is(err, os.ErrNotExist) {
		saved, err := json.Marshal(hostState{Forward: value, Mounted: h.mounted})
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(h.state), 0o711); err != nil {
			return err
		}
		if err := atomicfile.WriteFile(h.state, saved, 0o600, atomicfile.Volatile); err != nil {
			return fmt.Errorf("remember the host's settings: %w", err)
		}
	}
	if value == "1" {
		return nil
	}
	return os.WriteFile(forwardSetting, []byte("1"), 0)
}

// remove deletes the table and restores the host's settings.
func (h *host) remove() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: h.plan.table(), Family: nftables.TableFamilyIPv4}
	c.AddTable(t)
	c.DelTable(t)
	errs := c.Flush()
	data, err := os.ReadFile(h.state)
	if errors.Is(err, os.ErrNotExist) {
		return errs
	}
	var saved hostState
	if err == nil {
		err = json.Unmarshal(data, &saved)
	}
	if err == nil && saved.Forward != "" {
		err = os.WriteFile(forwardSetting, []byte(saved.Forward), 0)
	}
	if err == nil && saved.Mounted {
		err = releaseNamespaceDir(namespaceDir)
	}
	return errors.Join(errs, err, os.Remove(h.state))
}
