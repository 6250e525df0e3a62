package audit

import (
	"net/netip"
	"time"

	"shoal/internal/shares"
	"shoal/internal/shoal"
)

// maxSources is how many sources of refusals are told apart in a minute. Those of all others are
// one.
const maxSources = 256

// source is whose refusals are counted together, by error. Somebody who is known has one for each
// thing that was refused; of nobody there is only the address.
type source struct {
	address   string // of its IPv6 network
	actor     string
	team      string
	operation string
	code      string
}

// refusals counts those of the present minute. It belongs to a Trail, whose lock guards it.
type refusals struct {
	minute  time.Time
	counted map[source]shoal.AuditEntry // the first one, with the number of those after it
}

func newRefusals() refusals { return refusals{counted: map[source]shoal.AuditEntry{}} }

// count reports whether a refusal is the first of its source in its minute. It returns the entries
// of a minute that it found to be over.
func (r *refusals) count(e shoal.AuditEntry, now time.Time) (ended []shoal.AuditEntry, first bool) {
	ended = r.end(now)
	r.minute = now.Truncate(time.Minute)
	from := sourceOf(e)
	known, ok := r.counted[from]
	if !ok && len(r.counted) >= maxSources {
		// Of these the first is not told either, or else each new address would fill the log.
		from = source{}
		e.Address, e.Agent, e.RequestID = "", "", ""
		e.Actor, e.TeamID = shoal.Actor{Kind: shoal.ActorNobody}, ""
		if known, ok = r.counted[from]; !ok {
			known, ok = e, true
			known.Count = 0
		}
	}
	if ok {
		known.Count++
		known.At = now
		r.counted[from] = known
		return ended, false
	}
	e.Count = 0
	r.counted[from] = e
	return ended, true
}

// end returns the entries of the minute and begins anew, if that minute is over.
func (r *refusals) end(now time.Time) (ended []shoal.AuditEntry) {
	if len(r.counted) == 0 || now.Truncate(time.Minute).Equal(r.minute) {
		return nil
	}
	for _, e := range r.counted {
		if e.Count > 0 {
			ended = append(ended, e)
		}
	}
	clear(r.counted)
	return ended
}

func sourceOf(e shoal.AuditEntry) source {
	from := source{address: e.Address, code: e.ErrorCode}
	if addr, err := netip.ParseAddr(e.Address); err == nil {
		from.address = shares.SourceOf(addr).String()
	}
	if e.Actor.Kind != shoal.ActorNobody {
		from.actor, from.team = string(e.Actor.Kind)+" "+e.Actor.ID, e.TeamID
		from.operation = e.Operation
	}
	return from
}
