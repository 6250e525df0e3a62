package fleettest

import (
	"context"
	"time"

	"shoal/internal/shoal"
)

// measured is the samples of a team's sandbox.
type measured struct {
	teamID  string
	samples []shoal.Sample
}

// PutMetrics sets the samples of a sandbox that is there, oldest first. They stay when it ends.
func (n *Node) PutMetrics(sandboxID string, samples ...shoal.Sample) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.metrics[sandboxID] = measured{n.sandboxes[sandboxID].TeamID, samples}
}

// Metrics returns the samples that PutMetrics set, each by itself.
func (n *Node) Metrics(_ context.Context, sandboxID string, q shoal.MetricsQuery) ([]shoal.Sample, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down != nil {
		return nil, n.down
	}
	var list []shoal.Sample
	for _, m := range n.metrics[sandboxID].samples {
		if (q.Operator || n.metrics[sandboxID].teamID == q.TeamID) && !m.Time.Before(q.From) &&
			(q.To.IsZero() || !m.Time.After(q.To)) {
			list = append(list, m)
		}
	}
	return list, nil
}

// LatestMetrics returns the last of the samples that PutMetrics set.
func (n *Node) LatestMetrics(
	_ context.Context, teamID string, sandboxIDs []string,
) (map[string]shoal.Sample, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	latest := map[string]shoal.Sample{}
	for _, id := range sandboxIDs {
		if m := n.metrics[id]; m.teamID == teamID && len(m.samples) > 0 {
			latest[id] = m.samples[len(m.samples)-1]
		}
	}
	return latest, n.down
}

// PutTallies sets what the machine has counted.
func (n *Node) PutTallies(list ...shoal.Tally) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tallies = list
}

// Tallies returns what PutTallies set.
func (n *Node) Tallies(_ context.Context, after time.Time) ([]shoal.Tally, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []shoal.Tally
	for _, c := range n.tallies {
		if c.Until().After(after) {
			list = append(list, c)
		}
	}
	return list, n.down
}

// PutRecords adds records of connections, newest first.
func (n *Node) PutRecords(list ...shoal.EgressRecord) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = append(n.records, list...)
}

// EgressRecords returns records of a team's sandbox, newest first.
func (n *Node) EgressRecords(_ context.Context, sandboxID string, q shoal.EgressQuery) ([]shoal.EgressRecord, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down != nil {
		return nil, n.down
	}
	var list []shoal.EgressRecord
	for _, r := range n.records {
		if r.SandboxID == sandboxID && r.TeamID == q.TeamID && !r.Minute.Before(q.From.Truncate(time.Minute)) &&
			(q.To.IsZero() || !r.Minute.After(q.To)) && len(list) < q.Limit {
			list = append(list, r)
		}
	}
	return list, nil
}
