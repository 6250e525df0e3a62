package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/shoal"
)

// Metrics implements shoal.Node.
func (c *Client) Metrics(
	ctx context.Context, sandboxID string, q shoal.MetricsQuery,
) ([]shoal.Sample, error) {
	out, err := call(ctx, c, c.service.SandboxMetrics, &nodev1.SandboxMetricsRequest{SandboxId: sandboxID,
		TeamId: q.TeamID, From: encodeTime(q.From), To: encodeTime(q.To), Operator: q.Operator})
	if err != nil {
		return nil, err
	}
	samples := make([]shoal.Sample, len(out.Samples))
	for i, s := range out.Samples {
		samples[i] = decodeSample(s)
	}
	return samples, nil
}

// LatestMetrics implements shoal.Node.
func (c *Client) LatestMetrics(
	ctx context.Context, teamID string, sandboxIDs []string,
) (map[string]shoal.Sample, error) {
	out, err := call(ctx, c, c.service.LatestMetrics,
		&nodev1.LatestMetricsRequest{TeamId: teamID, SandboxIds: sandboxIDs})
	if err != nil {
		return nil, err
	}
	latest := map[string]shoal.Sample{}
	for id, s := range out.Samples {
		latest[id] = decodeSample(s)
	}
	return latest, nil
}

// EgressRecords implements shoal.Node.
func (c *Client) EgressRecords(
	ctx context.Context, sandboxID string, q shoal.EgressQuery,
) ([]shoal.EgressRecord, error) {
	out, err := call(ctx, c, c.service.EgressRecords, &nodev1.EgressRecordsRequest{SandboxId: sandboxID,
		TeamId: q.TeamID, From: encodeTime(q.From), To: encodeTime(q.To), Limit: int32(q.Limit)})
	if err != nil {
		return nil, err
	}
	list := make([]shoal.EgressRecord, len(out.Records))
	for i, r := range out.Records {
		list[i] = shoal.EgressRecord{SandboxID: sandboxID, TeamID: q.TeamID, Target: r.Target, Port: uint16(r.Port),
			Outcome: shoal.EgressOutcome(r.Outcome), Minute: decodeTime(r.Minute), Count: r.Count}
	}
	return list, nil
}

// Tallies implements shoal.Node.
func (c *Client) Tallies(ctx context.Context, after time.Time) ([]shoal.Tally, error) {
	out, err := call(ctx, c, c.service.Tallies, &nodev1.TalliesRequest{After: encodeTime(after)})
	if err != nil {
		return nil, err
	}
	list := make([]shoal.Tally, len(out.Tallies))
	for i, tally := range out.Tallies {
		list[i] = decodeTally(tally)
	}
	return list, nil
}

func (s *server) SandboxMetrics(
	ctx context.Context, r *connect.Request[nodev1.SandboxMetricsRequest],
) (*connect.Response[nodev1.SandboxMetricsResponse], error) {
	samples, err := s.node.Metrics(ctx, r.Msg.SandboxId, shoal.MetricsQuery{TeamID: r.Msg.TeamId,
		From: decodeTime(r.Msg.From), To: decodeTime(r.Msg.To), Operator: r.Msg.Operator})
	out := &nodev1.SandboxMetricsResponse{}
	for _, m := range samples {
		out.Samples = append(out.Samples, encodeSample(m))
	}
	return reply(out, err)
}

func (s *server) EgressRecords(
	ctx context.Context, r *connect.Request[nodev1.EgressRecordsRequest],
) (*connect.Response[nodev1.EgressRecordsResponse], error) {
	list, err := s.node.EgressRecords(ctx, r.Msg.SandboxId, shoal.EgressQuery{TeamID: r.Msg.TeamId,
		From: decodeTime(r.Msg.From), To: decodeTime(r.Msg.To), Limit: int(r.Msg.Limit)})
	out := &nodev1.EgressRecordsResponse{}
	for _, e := range list {
		out.Records = append(out.Records, &nodev1.EgressRecord{Target: e.Target, Port: int32(e.Port),
			Outcome: string(e.Outcome), Minute: encodeTime(e.Minute), Count: e.Count})
	}
	return reply(out, err)
}

func (s *server) LatestMetrics(
	ctx context.Context, r *connect.Request[nodev1.LatestMetricsRequest],
) (*connect.Response[nodev1.LatestMetricsResponse], error) {
	latest, err := s.node.LatestMetrics(ctx, r.Msg.TeamId, r.Msg.SandboxIds)
	out := &nodev1.LatestMetricsResponse{Samples: map[string]*nodev1.Sample{}}
	for id, m := range latest {
		out.Samples[id] = encodeSample(m)
	}
	return reply(out, err)
}

func (s *server) Tallies(
	ctx context.Context, r *connect.Request[nodev1.TalliesRequest],
) (*connect.Response[nodev1.TalliesResponse], error) {
	list, err := s.node.Tallies(ctx, decodeTime(r.Msg.After))
	out := &nodev1.TalliesResponse{}
	for _, tally := range list {
		out.Tallies = append(out.Tallies, encodeTally(tally))
	}
	return reply(out, err)
}

func encodeSample(s shoal.Sample) *nodev1.Sample {
	return &nodev1.Sample{
		Time:       encodeTime(s.Time),
		CpuCount:   int32(s.CPUCount),
		CpuUsedPct: s.CPUUsedPct,
		MemUsed:    s.MemUsed,
		MemTotal:   s.MemTotal,
		MemCache:   s.MemCache,
		DiskUsed:   s.DiskUsed,
		DiskTotal:  s.DiskTotal,
		Host: &nodev1.HostUse{CpuUsedPct: s.Host.CPUUsedPct, MemBytes: s.Host.MemBytes,
			HeldBytes: s.Host.HeldBytes, DiskBytes: s.Host.DiskBytes},
	}
}

func decodeSample(s *nodev1.Sample) shoal.Sample {
	return shoal.Sample{
		Metrics: shoal.Metrics{
			Time:       decodeTime(s.GetTime()),
			CPUCount:   int(s.GetCpuCount()),
			CPUUsedPct: s.GetCpuUsedPct(),
			MemUsed:    s.GetMemUsed(),
			MemTotal:   s.GetMemTotal(),
			MemCache:   s.GetMemCache(),
			DiskUsed:   s.GetDiskUsed(),
			DiskTotal:  s.GetDiskTotal(),
		},
		Host: shoal.HostUse{CPUUsedPct: s.GetHost().GetCpuUsedPct(), MemBytes: s.GetHost().GetMemBytes(),
			HeldBytes: s.GetHost().GetHeldBytes(), DiskBytes: s.GetHost().GetDiskBytes()},
	}
}

func encodeTally(c shoal.Tally) *nodev1.Tally {
	out := &nodev1.Tally{TeamId: c.TeamID, NodeId: c.NodeID, From: encodeTime(c.From)}
	for _, count := range c.Counts {
		out.Running = append(out.Running, int32(count.Running))
		out.Created = append(out.Created, int32(count.Created))
	}
	return out
}

func decodeTally(c *nodev1.Tally) shoal.Tally {
	out := shoal.Tally{TeamID: c.GetTeamId(), NodeID: c.GetNodeId(), From: decodeTime(c.GetFrom())}
	for i, running := range c.GetRunning() {
		count := shoal.Count{Running: int(running)}
		if i < len(c.GetCreated()) {
			count.Created = int(c.GetCreated()[i])
		}
		out.Counts = append(out.Counts, count)
	}
	return out
}
