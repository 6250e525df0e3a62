package doctor

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"shoal/internal/archive"
	"shoal/internal/clickhouse"
	"shoal/internal/config"
)

const (
	// clickhouseTime is how long the server may take to answer.
	clickhouseTime = 5 * time.Second
	// oldestClickhouse is the oldest major version whose SQL is Shoal's.
	oldestClickhouse = 23
)

// checkClickhouse looks at the ClickHouse server as the roles use it.
func checkClickhouse(ctx context.Context, cfg *config.Config) Result {
	if cfg.Clickhouse == "" {
		return ok("none; machines and the database keep events, metrics and logs for as long as they do")
	}
	options, err := cfg.ClickhouseServer()
	if err != nil {
		return Warn.because("set trust-ca to files with certificates", "%v", err)
	}
	db, err := clickhouse.New(options)
	if err != nil {
		return Warn.because("set clickhouse to an address such as http://shoal@127.0.0.1:8123/shoal", "%v", err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, clickhouseTime)
	defer cancel()
	found, err := archive.Look(ctx, db)
	return judgeClickhouse(hostOf(cfg.Clickhouse), found, err)
}

func judgeClickhouse(host string, found archive.Found, err error) Result {
	switch {
	case clickhouse.Is(err, clickhouse.CodeWrongPassword):
		return Warn.because("set clickhouse-password to the password of the user that clickhouse names",
			"%s refuses the user or the password", host)
	case err != nil && found.Server == "":
		return Warn.because("start the server, or correct clickhouse; until then rows wait for as long as machines "+
			"and the database keep them", "%s does not answer as a ClickHouse server: %v", host, err)
	case major(found.Server) < oldestClickhouse:
		return Warn.because("use ClickHouse "+strconv.Itoa(oldestClickhouse)+" or later",
			"%s is ClickHouse %s, which does not know all of the SQL that is used", host, found.Server)
	case err != nil:
		return Warn.because("move the tables away with RENAME TABLE, so that new ones are made, or use another database",
			"%v", err)
	case found.Skew.Abs() > maxSkew:
		return Warn.because("synchronize the clocks, for example by chrony",
			"the clock of %s differs from this machine's by %s", host, found.Skew)
	case found.Version == 0:
		return ok("%s, ClickHouse %s; the tables are made at the first start of an api", host, found.Server)
	}
	return ok("%s, ClickHouse %s, tables of version %d", host, found.Server, found.Version)
}

// hostOf leaves out of an address who uses it.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the server"
	}
	return u.Host
}

// major returns the first number of a version; 0 if it has none.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(first)
	return n
}
