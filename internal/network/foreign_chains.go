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

// Other software sets the policy of its forward or input chain to drop (Docker,
// ufw) or ends it with a reject (firewalld), and no rule of ours can overrule
// another base chain. So tagged rules are put at the top of each such chain, and
// taken away again. They open nothing: our own table drops what must not pass.
//
// They are as plain as can be: iptables-nft gives up on a table that holds an
// expression which it would not have written itself, ct state for one, and with
// it Docker would.

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

// closeForeign removes our rules from others' chains.
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

// foreignChains are others' base chains that filter IPv4 packets of slots.
func (h *host) foreignChains(c *nftables.Conn) ([]*nftables.Chain, error) {
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	var found []*nftables.Chain
	for _, ch := range chains {
		family := ch.Table.Family
		if ch.Table.Name != h.plan.table() && (family == nftables.TableFamilyIPv4 || family == nftables.TableFamilyINet) &&
			ch.Type == nftables.ChainTypeFilter && ch.Hooknum != nil &&
			(*ch.Hooknum == *nftables.ChainHookForward || *ch.Hooknum == *nftables.ChainHookInput) {
			found = append(found, ch)
		}
	}
	return found, nil
}

// stops says whether what no rule of a chain accepts ends there: by its policy,
// or by a rule without conditions.
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
