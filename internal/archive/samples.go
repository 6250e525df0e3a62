package archive

import (
	"context"
	"log/slog"
	"time"

	"shoal/internal/clickhouse"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/series"
)

// maxPoints bounds the answer to one question for samples.
const maxPoints = 20_000

// sample is a row of samplesTable.
type sample struct {
	SandboxID      string  `json:"sandbox_id"`
	At             string  `json:"at"`
	TeamID         string  `json:"team_id"`
	CPUCount       int64   `json:"cpu_count"`
	CPUUsedPct     float64 `json:"cpu_used_pct"`
	MemUsed        int64   `json:"mem_used"`
	MemTotal       int64   `json:"mem_total"`
	MemCache       int64   `json:"mem_cache"`
	DiskUsed       int64   `json:"disk_used"`
	DiskTotal      int64   `json:"disk_total"`
	HostCPUUsedPct float64 `json:"host_cpu_used_pct"`
	HostMem        int64   `json:"host_mem"`
	HostMemHeld    int64   `json:"host_mem_held"`
	HostDisk       int64   `json:"host_disk"`
}

// CopySamples returns a copier of what a machine's sandboxes use.
func CopySamples(db *clickhouse.Client, from Spool[series.One, int64], log *slog.Logger) *Copier {
	return newCopier(db, "metrics", samplesTable, from, func(s series.One) time.Time { return s.Sample.Time },
		func(s series.One) (sample, bool) {
			m, h := s.Sample.Metrics, s.Sample.Host
			return sample{SandboxID: s.SandboxID, At: text(m.Time), TeamID: s.TeamID, CPUCount: int64(m.CPUCount),
				CPUUsedPct: m.CPUUsedPct, MemUsed: m.MemUsed, MemTotal: m.MemTotal, MemCache: m.MemCache,
				DiskUsed: m.DiskUsed, DiskTotal: m.DiskTotal, HostCPUUsedPct: h.CPUUsedPct, HostMem: h.MemBytes,
				HostMemHeld: h.HeldBytes, HostDisk: h.DiskBytes}, sane(m.Time, shoal.MetricRetention)
		}, log)
}

// Extent returns the times of a sandbox's first and last sample that a query may see. Both are zero
// if there is none.
func (a *Archive) Extent(
	ctx context.Context, sandboxID string, q shoal.MetricsQuery,
) (first, last time.Time, err error) {
	type row struct{ First, Last, Rows int64 }
	err = read(ctx, a, `SELECT toUnixTimestamp64Milli(min(at)) AS first, toUnixTimestamp64Milli(max(at)) AS last,
	count() AS rows FROM sandbox_metrics
WHERE sandbox_id = {sandbox:String} AND ({operator:UInt8} OR team_id = {team:String} AND cpu_count > 0)`,
		clickhouse.Params{"sandbox": sandboxID, "team": q.TeamID, "operator": flag(q.Operator)}, func(r row) error {
			if r.Rows > 0 {
				first, last = time.UnixMilli(r.First).UTC(), time.UnixMilli(r.Last).UTC()
			}
			return nil
		})
	return first, last, err
}

// Samples returns the maximum of each step of a range of time, oldest first.
func (a *Archive) Samples(
	ctx context.Context, sandboxID string, q shoal.MetricsQuery, step time.Duration,
) (list []shoal.Sample, err error) {
	err = read(ctx, a, `SELECT toUnixTimestamp64Milli(min(at)) AS ms, max(cpu_count) AS cpu_count,
	max(cpu_used_pct) AS cpu_used_pct, max(mem_used) AS mem_used, max(mem_total) AS mem_total,
	max(mem_cache) AS mem_cache, max(disk_used) AS disk_used, max(disk_total) AS disk_total,
	max(host_cpu_used_pct) AS host_cpu_used_pct, max(host_mem) AS host_mem,
	max(host_mem_held) AS host_mem_held, max(host_disk) AS host_disk
FROM (SELECT * FROM sandbox_metrics WHERE sandbox_id = {sandbox:String}
	AND ({operator:UInt8} OR team_id = {team:String} AND cpu_count > 0)
	AND at >= fromUnixTimestamp64Milli({from:Int64}) AND at <= fromUnixTimestamp64Milli({to:Int64}))
GROUP BY intDiv(toUnixTimestamp64Milli(at), {step:Int64}) ORDER BY ms LIMIT {most:UInt64}`,
		clickhouse.Params{"sandbox": sandboxID, "team": q.TeamID, "operator": flag(q.Operator),
			"from": q.From.UnixMilli(), "to": q.To.UnixMilli(), "step": step.Milliseconds(), "most": maxPoints},
		func(r timedSample) error {
			list = append(list, r.value())
			return nil
		})
	return list, err
}

// LatestSamples returns the last sample of each of a team's sandboxes that has any.
func (a *Archive) LatestSamples(
	ctx context.Context, teamID string, sandboxIDs []string,
) (map[string]shoal.Sample, error) {
	latest := map[string]shoal.Sample{}
	err := read(ctx, a, `SELECT *, toUnixTimestamp64Milli(at) AS ms FROM sandbox_metrics
WHERE sandbox_id IN {sandboxes:Array(String)} AND team_id = {team:String} AND cpu_count > 0
ORDER BY sandbox_id, at DESC LIMIT 1 BY sandbox_id`,
		clickhouse.Params{"sandboxes": sandboxIDs, "team": teamID}, func(r timedSample) error {
			latest[r.SandboxID] = r.value()
			return nil
		})
	return latest, err
}

// timedSample is a row of an answer.
type timedSample struct {
	sample
	MS int64 `json:"ms"`
}

func (r timedSample) value() shoal.Sample {
	return shoal.Sample{
		Metrics: shoal.Metrics{Time: time.UnixMilli(r.MS).UTC(), CPUCount: int(r.CPUCount), CPUUsedPct: r.CPUUsedPct,
			MemUsed: r.MemUsed, MemTotal: r.MemTotal, MemCache: r.MemCache, DiskUsed: r.DiskUsed, DiskTotal: r.DiskTotal},
		Host: shoal.HostUse{CPUUsedPct: r.HostCPUUsedPct, MemBytes: r.HostMem, HeldBytes: r.HostMemHeld,
			DiskBytes: r.HostDisk},
	}
}
