package api

import (
	"log/slog"
	"strings"
	"testing"

	"shoal/internal/shoal"
	"shoal/internal/telemetry/logging"
)

// TestLogLevel: the operator changes what the process logs, and nobody else.
func TestLogLevel(t *testing.T) {
	w := newWorld(t)
	levels, err := logging.Parse("info")
	w.must(err)
	w.server.log = slog.New(levels.Handler(slog.NewJSONHandler(w.log, nil)))
	operator := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken}
	w.call("GET", "/admin/log-level", "", operator...).wants(t, 200, `{"levels":"info"}`)
	w.call("PUT", "/admin/log-level", `{"levels":"error,api=warn"}`, operator...).wants(t, 200, `"error,api=warn"`)
	if levels.String() != "error,api=warn" {
		t.Errorf("levels %s", levels)
	}
	w.call("PUT", "/admin/log-level", `{"levels":"info,kitchen=debug"}`, operator...).wants(t, 400, "no room")
	w.call("PUT", "/admin/log-level", `{"levels":"`+strings.Repeat("x", 4097)+`"}`, operator...).wants(t, 400, "")
	w.call("PUT", "/admin/log-level", `{"levels":"debug"}`).wants(t, 401, "")
	if levels.String() != "error,api=warn" {
		t.Errorf("levels %s", levels)
	}
}
