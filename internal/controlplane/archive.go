package controlplane

import (
	"fmt"

	"shoal/internal/archive"
	"shoal/internal/clickhouse"
	"shoal/internal/config"
)

// openArchive prepares the archive on the ClickHouse server, and what copies events there, if there
// is one. It does not wait for the server.
func (p *ControlPlane) openArchive(cfg *config.Config) error {
	if cfg.Clickhouse == "" {
		return nil
	}
	options, err := cfg.ClickhouseServer()
	if err != nil {
		return err
	}
	db, err := clickhouse.New(options)
	if err != nil {
		return fmt.Errorf("prepare the archive: %w", err)
	}
	days := archive.Days{Events: cfg.ClickhouseEventDays, Metrics: cfg.ClickhouseMetricDays, Logs: cfg.ClickhouseLogDays}
	p.archive = archive.New(db, days, p.store.CopyEventsAgain, p.log)
	p.copier = archive.CopyEvents(db, p.store, p.log)
	return nil
}
