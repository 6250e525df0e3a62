package network

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"shoal/internal/egress"
	"shoal/internal/shares"
	"shoal/internal/shoal"
)

// A guest that may reach listed domains alone could still send to whoever answers for a name, by
// the names that it asks for, and read the answers. So of names that no rule is about it asks
// rarely, and gets addresses alone.

// strangeRate is how much it may ask of them, in bytes of the names: some hundreds at once, and a
// few a second from then on.
var strangeRate = shares.Rate{PerSecond: 256, Burst: 16 << 10}

// maxStrangeName bounds one such name, and maxStrangeAnswer the addresses in an answer.
const (
	maxStrangeName   = 128
	maxStrangeAnswer = 8
)

// strangers bounds what guests ask of names that no rule is about.
type strangers struct {
	steward *egress.Steward // nil where nothing is decided by name
	quotas  shares.Quotas
}

// askers is how many guests are told apart.
const askers = 32_766

func newStrangers(steward *egress.Steward) *strangers {
	return &strangers{steward: steward, quotas: shares.Quotas{Takers: askers}}
}

// admit decides about a query. strange means that only addresses are to be told.
func (s *strangers) admit(guest netip.Addr, query *dns.Msg) (strange, ok bool) {
	if s.steward == nil {
		return false, true
	}
	policy := s.steward.Known(guest)
	if policy == nil || len(policy.Domains) == 0 {
		return false, true
	}
	q := query.Question[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	if policy.Knows(name) {
		return false, true
	}
	ok = (q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA) && len(name) <= maxStrangeName &&
		s.quotas.Take(context.Background(), guest.String(), len(q.Name), strangeRate).Granted
	outcome := shoal.EgressDenied
	if ok {
		outcome = shoal.EgressAllowed
	}
	s.steward.Count(policy, name, dnsPort, outcome)
	return true, ok
}

const dnsPort = 53

// onlyAddresses takes everything else out of an answer, such as the names that lead to them.
func onlyAddresses(answer *dns.Msg) {
	owner := answer.Question[0].Name
	answer.Answer = slices.DeleteFunc(answer.Answer, func(rr dns.RR) bool {
		rr.Header().Name = owner
		t := rr.Header().Rrtype
		return t != dns.TypeA && t != dns.TypeAAAA
	})
	answer.Answer = answer.Answer[:min(len(answer.Answer), maxStrangeAnswer)]
	answer.Ns, answer.Extra = nil, nil
}
