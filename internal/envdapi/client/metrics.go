package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

// Metrics asks the guest how much it uses. The sample's time is that of this machine.
func (c *Client) Metrics(ctx context.Context) (shoal.Metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+envdapi.MetricsPath, nil)
	if err != nil {
		return shoal.Metrics{}, err
	}
	c.identify(req.Header, "")
	resp, err := c.http.Do(req)
	if err != nil {
		return shoal.Metrics{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return shoal.Metrics{}, fmt.Errorf("envd answered %s with status %d", envdapi.MetricsPath,
			resp.StatusCode)
	}
	var m envdapi.Metrics
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&m); err != nil {
		return shoal.Metrics{}, fmt.Errorf("decode envd's metrics: %w", err)
	}
	if err := plausible(m); err != nil {
		return shoal.Metrics{}, fmt.Errorf("envd's metrics: %w", err)
	}
	return shoal.Metrics{Time: time.Now().UTC(), CPUCount: m.CPUCount, CPUUsedPct: m.CPUUsedPct,
		MemUsed: int64(m.MemUsed), MemTotal: int64(m.MemTotal), MemCache: int64(m.MemCache),
		DiskUsed: int64(m.DiskUsed), DiskTotal: int64(m.DiskTotal)}, nil
}

// maxBytesReported is more than any guest has, and small enough to be added up.
const maxBytesReported = 1 << 50

// plausible refuses numbers that no guest has: they are added up and shown.
func plausible(m envdapi.Metrics) error {
	for _, n := range []uint64{m.MemUsed, m.MemTotal, m.MemCache, m.DiskUsed, m.DiskTotal} {
		if n > maxBytesReported {
			return fmt.Errorf("%d bytes are more than a guest can have", n)
		}
	}
	if m.CPUCount < 0 || m.CPUCount > 4096 || m.CPUUsedPct < 0 || m.CPUUsedPct > 4096*100 {
		return fmt.Errorf("%d processors, %g %% used", m.CPUCount, m.CPUUsedPct)
	}
	return nil
}
