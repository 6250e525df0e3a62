package controlplane

import (
	"fmt"

	"shoal/internal/archive"
	"shoal/internal/config"
)

// openArchive prepares the archive on the ClickHouse server, and what copies events there, if there
// is one. It does not wait for the server.
func (p *ControlPlane) openArchive(cfg *config.Config) error {
	db, err := cfg.OpenClickhouse()
	if err != nil {
		return fmt.Errorf("prepare the archive: %w", err)
	}
	if db == nil {
		return nil
	}
	days := archive.Days{Events: cfg.ClickhouseEventDays, Metrics: cfg.ClickhouseMetricDays, Logs: cfg.ClickhouseLogDays}
	p.archive = archive.New(db, days, p.store.CopyEventsAgain, p.log)
	p.copier = archive.CopyEvents(db, p.store, p.log)
	return nil
}
