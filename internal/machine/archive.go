package machine

import (
	"fmt"

	"shoal/internal/archive"
	"shoal/internal/telemetry/series"
)

// openCopiers prepares what copies logs, samples and records of connections to the ClickHouse server, if there is one. Run
// runs it; the databases that it reads from are closed after that.
func (m *Machine) openCopiers(samples *series.Disk) error {
	db, err := m.cfg.OpenClickhouse()
	if err != nil {
		return fmt.Errorf("prepare copies to the ClickHouse server: %w", err)
	}
	if db == nil {
		return nil
	}
	m.copiers = []*archive.Copier{archive.CopyLines(db, m.logs, m.log), archive.CopySamples(db, samples, m.log),
		archive.CopyConnections(db, m.ledger, m.log)}
	return nil
}
