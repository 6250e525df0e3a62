package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Other software sets the policy of its forward or input chain to drop (Docker, ufw) or
// ends the chain with a reject (firewalld). A packet must pass every base chain, so our
// own table cannot overrule that. We therefore insert tagged rules at the top of each such
// chain, and remove them later. They grant no access, because our own table still drops
// what must not pass.
//
// These rules use only expressions that iptables itself writes. iptables-nft, and Docker
// with it, refuses a table that holds any other, such as ct state.

// ruleTag marks our rules in foreign chains. It is stored as the rule's user data, in the
// format that nft displays as a comment.
func (p plan) ruleTag() []byte {
	text := "shoal"
	if p.name != "" {
		text += "-" + p.name
	}
	const commentType = 0
	return append([]byte{commentType, byte(len(text) + 1)}, text+"\x00"...)
}

// openForeign adds our rules to each foreign chain that would drop slots' packets. Calling
// it again adds nothing.
func (h *host) openForeign() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := h.foreignChains(c)
	if err != nil {
		return err
	}
	for _, ch := range chains {
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return err
		}
		if h.countOurs(rules) > 0 || !stops(ch, rules) {
			continue
		}
		passes := []words{rule(fromLink(h.plan.linkPrefix()), counted(), accept())}
		if *ch.Hooknum == *nftables.ChainHookForward {
			passes = append(passes, rule(toLink(h.plan.linkPrefix()), counted(), accept()))
		}
		for _, exprs := range passes {
			c.InsertRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: exprs, UserData: h.plan.ruleTag()})
		}
	}
	return errors.Join(c.Flush(), h.legacy("-I"))
}

// closeForeign removes our rules from foreign chains.
func (h *host) closeForeign() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := h.foreignChains(c)
	if err != nil {
		return err
	}
	for _, ch := range chains {
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			continue // the chain no longer exists
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

// foreignChains returns other software's base chains that filter slots' IPv4 packets.
func (h *host) foreignChains(c *nftables.Conn) ([]*nftables.Chain, error) {
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	var found []*nftables.Chain
	for _, ch := range chains {
		family := ch.Table.Family
		if ch.Table.Name != h.plan.table() &&
			(family == nftables.TableFamilyIPv4 || family == nftables.TableFamilyINet) &&
			ch.Type == nftables.ChainTypeFilter && ch.Hooknum != nil &&
			(*ch.Hooknum == *nftables.ChainHookForward || *ch.Hooknum == *nftables.ChainHookInput) {
			found = append(found, ch)
		}
	}
	return found, nil
}

// stops reports whether a chain drops the packets that none of its rules accepts, by its
// policy or by an unconditional rule.
func stops(ch *nftables.Chain, rules []*nftables.Rule) bool {
	return ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop || slices.ContainsFunc(rules, stopsAll)
}

func stopsAll(r *nftables.Rule) bool {
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop
		case *expr.Reject:
			return true
		case *expr.Target: // how iptables rejects
			return e.Name == "REJECT"
		default:
			return false
		}
	}
	return false
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

// legacy does the same for the older iptables, whose rules nftables does not list. It does
// nothing unless the host's kernel lists the older tables and iptables-legacy is installed.
func (h *host) legacy(action string) error {
	tables, err := os.ReadFile("/proc/net/ip_tables_names")
	if err != nil || !strings.Contains(string(tables), "filter") {
		return nil
	}
	command, err := exec.LookPath("iptables-legacy")
	if err != nil {
		return nil
	}
	// It waits for a lock of all its callers, which may never be free.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, place := range [][2]string{{"FORWARD", "-i"}, {"FORWARD", "-o"}, {"INPUT", "-i"}} {
		match := []string{place[0], place[1], h.plan.linkPrefix() + "+", "-j", "ACCEPT"}
		exists := exec.CommandContext(ctx, command, append([]string{"-w", "-C"}, match...)...).Run() == nil
		if exists == (action == "-I") {
			continue
		}
		if out, err := exec.CommandContext(ctx, command, append([]string{"-w", action}, match...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("iptables-legacy %s: %w: %s", action, err, out)
		}
	}
	return nil
}
