package doctor

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"shoal/internal/archive"
	"shoal/internal/clickhouse/clickhousetest"
	"shoal/internal/config"
)

// TestClickhouse causes each failure with a server.
func TestClickhouse(t *testing.T) {
	if r := checkClickhouse(t.Context(), &config.Config{}); r.Level != OK || !strings.Contains(r.Found, "none") {
		t.Errorf("without one: %+v", r)
	}
	server := clickhousetest.Start(t)
	cfg := &config.Config{Clickhouse: server.URL("shoal"), ClickhousePassword: server.Password()}
	want := func(what string, level Level, found, fix string) {
		t.Helper()
		r := checkClickhouse(t.Context(), cfg)
		if r.Level != level || !strings.Contains(r.Found, found) || !strings.Contains(r.Fix, fix) || (r.Fix == "") != (level == OK) {
			t.Errorf("%s: %+v, want %q and %q", what, r, found, fix)
		}
		if strings.Contains(r.Found+r.Fix, server.Password()) {
			t.Errorf("%s: it shows the password", what)
		}
	}
	want("a new server", OK, "the tables are made", "")
	db := server.Client("shoal")
	if err := archive.New(db, archive.Days{Events: 1, Metrics: 1, Logs: 1}, nil, slog.New(slog.DiscardHandler)).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("a prepared server", OK, "tables of version", "")
	cfg.ClickhousePassword = "wrong"
	want("a wrong password", Warn, "refuses the user", "clickhouse-password")
	cfg.ClickhousePassword = server.Password()
	if err := db.Exec(t.Context(), "ALTER TABLE sandbox_logs DROP COLUMN message", nil); err != nil {
		t.Fatal(err)
	}
	want("a changed table", Warn, "no column message", "RENAME TABLE")
	if err := db.Exec(t.Context(), "INSERT INTO schema_versions (version) VALUES (99)", nil); err != nil {
		t.Fatal(err)
	}
	want("tables of the future", Warn, "a later Shoal", "another database")
	server.Kill()
	want("no server", Warn, "does not answer", "start the server")
	page := httptest.NewServer(nil)
	defer page.Close()
	cfg.Clickhouse = page.URL + "/shoal"
	want("something else", Warn, "does not answer as a ClickHouse server", "correct clickhouse")
	cfg.TrustCA = []string{"/nonexistent"}
	want("no authorities", Warn, "/nonexistent", "trust-ca")

	for version, level := range map[string]Level{"18.16.1": Warn, "21.8.15.7": Warn, "24.3.1.1": OK, "": Warn} {
		if r := judgeClickhouse("host", archive.Found{Server: version, Version: 1}, nil); r.Level != level {
			t.Errorf("version %q: %+v", version, r)
		}
	}
	if r := judgeClickhouse("host", archive.Found{Server: "25.1.1", Skew: -time.Minute}, nil); r.Level != Warn || !strings.Contains(r.Found, "1m") {
		t.Errorf("a clock that is late: %+v", r)
	}
}
