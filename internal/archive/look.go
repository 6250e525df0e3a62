package archive

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/clickhouse"
)

// Found is what a look at a server tells.
type Found struct {
	Server  string        // its version
	Skew    time.Duration // how far its clock is ahead of this machine's
	Version int64         // of the tables; 0 if there are none
}

// Look looks at a server without changing anything. Tables that are not as they should be are an
// error.
func Look(ctx context.Context, db *clickhouse.Client) (found Found, err error) {
	began := time.Now()
	type row struct {
		Server string
		MS     int64
	}
	const sql = "SELECT version() AS server, toUnixTimestamp64Milli(now64(3)) AS ms"
	err = clickhouse.Select(ctx, db.In("system"), sql, nil, func(r row) error {
		found.Server = r.Server
		half := time.Since(began) / 2
		found.Skew = time.UnixMilli(r.MS).Sub(began.Add(half)).Round(time.Millisecond)
		return nil
	})
	if err != nil {
		return found, err
	}
	type version struct{ Version int64 }
	const newest = "SELECT max(version) AS version FROM schema_versions"
	err = clickhouse.Select(ctx, db, newest, nil, func(v version) error {
		found.Version = v.Version
		return nil
	})
	switch {
	case clickhouse.Is(err, clickhouse.CodeUnknownTable, clickhouse.CodeUnknownDatabase):
		return found, nil
	case err != nil || found.Version == 0:
		return found, err
	case found.Version > int64(len(migrations)):
		return found, errLater(db, found.Version)
	}
	return found, verify(ctx, db)
}

func errLater(db *clickhouse.Client, version int64) error {
	return fmt.Errorf("database %s has version %d, of a later Shoal; this one knows %d",
		db.Database(), version, len(migrations))
}
