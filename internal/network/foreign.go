package network

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/google/nftables"
)

// Other software, Docker first of all, sets the policy of its forward chain to
// drop, and no rule of ours can overrule a drop of another base chain. So two
// tagged rules are put at the top of each such chain, and taken away again.

// ruleTag marks our rules in others' chains; it is stored as the rule's user data
// in the form that nft shows as a comment.
func (p plan) ruleTag() []byte {
	text := "shoal"
	if p.name != "" {
		text += "-" + p.name
	}
	const commentType = 0
	return append([]byte{commentType, byte(len(text) + 1)}, text+"\x00"...)
}

// openForeign adds our rules where a foreign chain would drop slots' packets. It
// is safe to repeat.
func (h *host) openForeign() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := h.droppingChains(c)
	if err != nil {
		return err
	}
	for _, ch := range chains {
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return err
		}
		if h.countOurs(rules) > 0 {
			continue
		}
		// Inserted at the top one after the other.
		for _, exprs := range []words{
			rule(toLink(h.plan.linkPrefix()), established(), accept()),
			rule(fromLink(h.plan.linkPrefix()), accept()),
		} {
			c.InsertRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: exprs, UserData: h.plan.ruleTag()})
		}
	}
	return errors.Join(c.Flush(), h.legacy("-I"))
}

// closeForeign removes our rules from others' chains.
func (h *host) closeForeign() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := c.ListChains()
	if err != nil {
		return err
	}
	for _, ch := range chains {
		if ch.Table.Name == h.plan.table() || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			continue // the chain has gone
		}
		for _, r := range rules {
			if bytes.Equal(r.UserData, h.plan.ruleTag()) {
				if err := c.DelRule(r); err != nil {
					return err
				}
			}
		}
	}
	return errors.Join(c.Flush(), h.legacy("-D"))
}

// droppingChains are others' IPv4 forward chains with policy drop.
func (h *host) droppingChains(c *nftables.Conn) ([]*nftables.Chain, error) {
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	var found []*nftables.Chain
	for _, ch := range chains {
		family := ch.Table.Family
		if ch.Table.Name != h.plan.table() && (family == nftables.TableFamilyIPv4 || family == nftables.TableFamilyINet) &&
			ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward &&
			ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
			found = append(found, ch)
		}
	}
	return found, nil
}

func (h *host) countOurs(rules []*nftables.Rule) int {
	n := 0
	for _, r := range rules {
		if bytes.Equal(r.UserData, h.plan.ruleTag()) {
			n++
		}
	}
	return n
}

// legacy does the same for the older iptables, which netlink does not show. It
// is in use only where the kernel lists its tables and its command exists.
func (h *host) legacy(action string) error {
	tables, err := os.ReadFile("/proc/net/ip_tables_names")
	if err != nil || !strings.Contains(string(tables), "filter") {
		return nil
	}
	command, err := exec.LookPath("iptables-legacy")
	if err != nil {
		return nil
	}
	for _, direction := range []string{"-i", "-o"} {
		match := []string{"FORWARD", direction, h.plan.linkPrefix() + "+", "-j", "ACCEPT"}
		exists := exec.Command(command, append([]string{"-w", "-C"}, match...)...).Run() == nil
		if exists == (action == "-I") {
			continue
		}
		if out, err := exec.Command(command, append([]string{"-w", action}, match...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("iptables-legacy %s: %w: %s", action, err, out)
		}
	}
	return nil
}
