package network

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
)

// The host's kernel tracks every connection of every guest in one table, which the host's
// own connections need too, those to guests among them. A slot's rules bound the guest's
// part (maxFlows), and the guard bounds all guests' parts together: while the table is
// nearly full, packets of guests that would open further connections are dropped.

// flowSettings has the table's size and the number of its entries.
const flowSettings = "/proc/sys/net/netfilter"

const (
	// flowCheck is how often the table is looked at.
	flowCheck = 500 * time.Millisecond
	// In eighths of the table: new connections stop at closeAt, and are allowed again below
	// reopenAt.
	closeAt, reopenAt = 6, 5
	// minFlowRate is the least rate at which all guests together may open connections, per
	// second. It is an eighth of the table otherwise, so that the rest is not filled between
	// two looks.
	minFlowRate = 1000
)

// flowRate returns how many connections all guests together may open in a second, 0 for no
// bound, and how many of them at once.
func flowRate(capacity uint64) (rate uint64, burst uint32) {
	if capacity == 0 {
		return 0, 0
	}
	rate = max(capacity/8, minFlowRate)
	return rate, uint32(min(rate/2, 1<<31))
}

// flowGuard keeps guests from filling the table. Its methods are called by one goroutine.
type flowGuard struct {
	host     *host
	log      *slog.Logger
	settings string // directory
	closed   bool   // guests open no connections
}

// check closes or opens the way for guests' new connections. It applies again what holds,
// if the rules have been installed anew.
func (g *flowGuard) check(installed bool) error {
	used, err := readNumber(g.settings, "nf_conntrack_count")
	if err != nil {
		return err
	}
	capacity, err := readNumber(g.settings, "nf_conntrack_max")
	if err != nil {
		return err
	}
	closed := shouldClose(used, capacity, g.closed)
	if closed == g.closed && !installed {
		return nil
	}
	if closed && !g.closed {
		g.log.Warn("the host's connection table is nearly full; guests open no connections for now",
			"used", used, "capacity", capacity, "setting", "net.netfilter.nf_conntrack_max")
	}
	if err := g.host.closeFlows(closed); err != nil {
		return err
	}
	g.closed = closed
	return nil
}

// shouldClose decides from the table's use, with a distance between closing and opening. A
// kernel without a table has a capacity of 0.
func shouldClose(used, capacity uint64, closed bool) bool {
	if closed {
		return used*8 >= capacity*reopenAt && capacity > 0
	}
	return used*8 >= capacity*closeAt && capacity > 0
}

// readNumber reads a setting of the host's kernel; 0 if it has none of this name.
func readNumber(dir, name string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// noFlows is the set of the sources whose new connections are dropped: none, or all.
func noFlows(t *nftables.Table) *nftables.Set {
	return &nftables.Set{Table: t, ID: 1, Name: "noflows", KeyType: nftables.TypeIPAddr, Interval: true}
}

// closeFlows makes the host's rules drop or pass what opens connections from guests.
func (h *host) closeFlows(closed bool) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	set := noFlows(&nftables.Table{Name: h.plan.table(), Family: nftables.TableFamilyIPv4})
	set.ID = 0 // the set exists, so it is addressed by its name
	c.FlushSet(set)
	if closed {
		if err := c.SetAddElements(set, elements(prefixes(everything.String()))); err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("close guests' way to new connections: %w", err)
	}
	return nil
}
