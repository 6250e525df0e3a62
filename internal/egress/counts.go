package egress

import (
	"cmp"
	"sync"
	"time"

	"shoal/internal/shoal"
)

// maxRecords bounds what waits to be collected. A sandbox that tries very many places has them
// counted under one.
const (
	maxRecords        = 65_536
	maxSandboxRecords = 512 // a minute
	manyTargets       = "…"
)

// counts counts connections until they are collected.
type counts struct {
	mu      sync.Mutex // a leaf
	byKey   map[key]int64
	targets map[minuteOf]int
}

type key struct {
	minuteOf
	target  string
	port    uint16
	outcome shoal.EgressOutcome
}

type minuteOf struct {
	sandboxID, teamID string
	minute            int64 // since 1970
}

func newCounts() *counts {
	return &counts{byKey: map[key]int64{}, targets: map[minuteOf]int{}}
}

func (l *counts) add(c *connection, o shoal.EgressOutcome) {
	target := cmp.Or(c.name, c.outer, c.to.Addr().String())
	l.count(c.policy, target, c.to.Port(), o, time.Now())
}

func (l *counts) count(p *Policy, target string, port uint16, o shoal.EgressOutcome, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key{minuteOf{p.SandboxID, p.TeamID, at.Unix() / 60}, target, port, o}
	if _, known := l.byKey[k]; !known {
		if l.targets[k.minuteOf] >= maxSandboxRecords {
			k.target, k.port = manyTargets, 0
		}
		if len(l.byKey) >= maxRecords {
			return
		}
		l.targets[k.minuteOf]++
	}
	l.byKey[k]++
}

// take returns what was counted since the last time.
func (l *counts) take() []shoal.EgressRecord {
	l.mu.Lock()
	taken := l.byKey
	l.byKey, l.targets = map[key]int64{}, map[minuteOf]int{}
	l.mu.Unlock()
	list := make([]shoal.EgressRecord, 0, len(taken))
	for k, n := range taken {
		list = append(list, shoal.EgressRecord{SandboxID: k.sandboxID, TeamID: k.teamID, Target: k.target, Port: k.port, Outcome: k.outcome,
			Minute: time.Unix(k.minute*60, 0).UTC(), Count: n})
	}
	return list
}
