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
	return shoal.Metrics{Time: time.Now().UTC(), CPUCount: m.CPUCount, CPUUsedPct: m.CPUUsedPct,
		MemUsed: int64(m.MemUsed), MemTotal: int64(m.MemTotal), MemCache: int64(m.MemCache),
		DiskUsed: int64(m.DiskUsed), DiskTotal: int64(m.DiskTotal)}, nil
}
