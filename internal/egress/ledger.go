package egress

import (
	"sync"
	"time"
)

// Outcome is what became of a connection.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed"
	Denied  Outcome = "denied"
	Failed  Outcome = "failed" // allowed, and the server or the proxy was not reached
)

// Record counts the connections of one sandbox to one place that ended the same, in one minute.
type Record struct {
	SandboxID string `json:"sandboxID"`
	// Target is the name that was asked for, or else the address that was dialed.
	Target  string    `json:"target"`
	Port    uint16    `json:"port"`
	Outcome Outcome   `json:"outcome"`
	Minute  time.Time `json:"minute"` // UTC
	Count   int64     `json:"count"`
}

// maxRecords bounds what waits to be collected. A sandbox that tries very many places has them
// counted under one.
const (
	maxRecords        = 65_536
	maxSandboxRecords = 512 // a minute
	manyTargets       = "…"
)

// ledger counts connections until they are collected.
type ledger struct {
	mu      sync.Mutex // a leaf
	counts  map[key]int64
	targets map[minuteOf]int
}

type key struct {
	minuteOf
	target  string
	port    uint16
	outcome Outcome
}

type minuteOf struct {
	sandboxID string
	minute    int64 // since 1970
}

func newLedger() *ledger {
	return &ledger{counts: map[key]int64{}, targets: map[minuteOf]int{}}
}

func (l *ledger) add(c *connection, o Outcome) {
	target := c.name
	if target == "" {
		target = c.to.Addr().String()
	}
	l.count(c.policy.SandboxID, target, c.to.Port(), o, time.Now())
}

func (l *ledger) count(sandboxID, target string, port uint16, o Outcome, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key{minuteOf{sandboxID, at.Unix() / 60}, target, port, o}
	if _, known := l.counts[k]; !known {
		if l.targets[k.minuteOf] >= maxSandboxRecords {
			k.target, k.port = manyTargets, 0
		}
		if len(l.counts) >= maxRecords {
			return
		}
		l.targets[k.minuteOf]++
	}
	l.counts[k]++
}

// take returns what was counted since the last time.
func (l *ledger) take() []Record {
	l.mu.Lock()
	counts := l.counts
	l.counts, l.targets = map[key]int64{}, map[minuteOf]int{}
	l.mu.Unlock()
	list := make([]Record, 0, len(counts))
	for k, n := range counts {
		list = append(list, Record{SandboxID: k.sandboxID, Target: k.target, Port: k.port, Outcome: k.outcome,
			Minute: time.Unix(k.minute*60, 0).UTC(), Count: n})
	}
	return list
}
