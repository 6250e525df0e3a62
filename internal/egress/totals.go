package egress

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"

	"shoal/internal/egress/intercept"
	"shoal/internal/shoal"
)

// The families of what a process counts for its operator, and their labels. Stewards of other
// versions leave out what they do not know.
const (
	familyConnections = "connections" // by outcome
	familyBytes       = "bytes"       // by direction, as the sandbox sees it
	familyRefusals    = "refusals"    // transformed connections that one side or we refused, by reason
	familyFills       = "fills"       // requests whose headers were to get values, by outcome

	outcomeAllowed    = string(shoal.EgressAllowed)
	outcomeDenied     = string(shoal.EgressDenied)
	outcomeEncrypted  = string(shoal.EgressEncrypted)
	outcomeFailed     = string(shoal.EgressFailed)
	outcomeUnresolved = "unresolved" // the name was not found
	outcomeSilent     = "silent"     // the client has gone before it said whom it wants
	outcomeCrowded    = "crowded"    // one too many

	directionSent     = "sent"
	directionReceived = "received"

	reasonHandshake = "handshake" // the client's part of TLS

	outcomeFilled = "filled"
)

// totals are counts by family and label.
type totals map[string]map[string]int64

// tally counts until that is taken.
type tally struct {
	mu     sync.Mutex // a leaf
	counts totals
}

func (t *tally) add(family, label string, n int64) {
	if n == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = totals{}
	}
	if t.counts[family] == nil {
		t.counts[family] = map[string]int64{}
	}
	t.counts[family][label] += n
}

// take returns what was counted since the last time.
func (t *tally) take() totals {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.counts
	t.counts = nil
	return taken
}

// count notes for the operator and for the tenant what became of a connection.
func (s *Server) count(c *connection, err error) {
	o := outcomeOf(err)
	s.records.add(c, o)
	label := string(o)
	if unknown := new(net.DNSError); o == shoal.EgressFailed && errors.As(err, &unknown) {
		label = outcomeUnresolved
	}
	s.totals.add(familyConnections, label, 1)
}

// reasons are the labels of what ends transformed connections.
var reasons = map[string]*shoal.Kind{"misdirected": shoal.ErrTransformMisdirected, "method": shoal.ErrTransformMethod,
	"fill": shoal.ErrTransformFill, "certificate": shoal.ErrTransformCertificate, "server": shoal.ErrTransformServer,
	"protocol": shoal.ErrTransformProtocol, "pinned": shoal.ErrTransformPinned}

// countRefusal notes why a transformed connection failed; one that was only cut is no refusal.
func (s *Server) countRefusal(err error) {
	for label, kind := range reasons {
		if kind.Matches(err) {
			s.totals.add(familyRefusals, label, 1)
			return
		}
	}
	if errors.Is(err, intercept.ErrHandshake) {
		s.totals.add(familyRefusals, reasonHandshake, 1)
	}
}

// countFill notes whether a request's headers got values.
func (s *Server) countFill(err error) {
	label := outcomeFilled
	if err != nil {
		label = outcomeFailed
	}
	s.totals.add(familyFills, label, 1)
}

// takeTotals returns what was counted since the last time, of open connections too.
func (s *Server) takeTotals() totals {
	for _, c := range s.connections() {
		c.guest.measure()
	}
	return s.totals.take()
}

// connections lists those that are open.
func (s *Server) connections() (list []*connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.open {
		list = slices.AppendSeq(list, maps.Keys(open))
	}
	return list
}
