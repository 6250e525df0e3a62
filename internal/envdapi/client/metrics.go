package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

// The largest numbers in a guest's metrics that are believed.
const (
	maxCPUs  = 4096
	maxBytes = 1 << 50
)

// Metrics asks the guest how much it uses. The sample's time is that of this machine.
// Numbers that no guest can have are an *AnswerError.
func (c *Client) Metrics(ctx context.Context) (shoal.Metrics, error) {
	resp, err := c.ask(ctx, http.MethodGet, envdapi.MetricsPath)
	if err != nil {
		return shoal.Metrics{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return shoal.Metrics{}, fmt.Errorf("envd answered %s with status %d", envdapi.MetricsPath,
			resp.StatusCode)
	}
	var m envdapi.Metrics
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return shoal.Metrics{}, shortened(fmt.Errorf("decode envd's metrics: %w", err))
	}
	if !credible(m) {
		return shoal.Metrics{}, refuse("metrics that no guest can have")
	}
	return shoal.Metrics{Time: time.Now().UTC(), CPUCount: m.CPUCount, CPUUsedPct: m.CPUUsedPct,
		MemUsed: int64(m.MemUsed), MemTotal: int64(m.MemTotal), MemCache: int64(m.MemCache),
		DiskUsed: int64(m.DiskUsed), DiskTotal: int64(m.DiskTotal)}, nil
}

// credible reports whether a guest can use what it says. Infinite and negative sizes are no
// JSON of a Metrics.
func credible(m envdapi.Metrics) bool {
	return m.CPUCount >= 1 && m.CPUCount <= maxCPUs && m.CPUUsedPct >= 0 && m.CPUUsedPct <= 100*float64(m.CPUCount) &&
		m.MemUsed <= m.MemTotal && m.MemTotal <= maxBytes && m.MemCache <= maxBytes &&
		m.DiskUsed <= m.DiskTotal && m.DiskTotal <= maxBytes
}
