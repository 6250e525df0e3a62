package machine

import (
	"fmt"

	"shoal/internal/archive"
	"shoal/internal/clickhouse"
	"shoal/internal/telemetry/series"
)

// openCopiers prepares what copies logs and samples to the ClickHouse server, if there is one. Run
// runs it; the databases that it reads from are closed after that.
func (m *Machine) openCopiers(samples *series.Disk) error {
	if m.cfg.Clickhouse == "" {
		return nil
	}
	options, err := m.cfg.ClickhouseServer()
	if err != nil {
		return err
	}
	db, err := clickhouse.New(options)
	if err != nil {
		return fmt.Errorf("prepare copies to the ClickHouse server: %w", err)
	}
	m.copiers = []*archive.Copier{archive.CopyLines(db, m.logs, m.log), archive.CopySamples(db, samples, m.log)}
	return nil
}
