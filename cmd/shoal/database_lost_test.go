package main

import (
	"errors"
	"net/http"
	"testing"

	"shoal/internal/shoal"
	"shoal/internal/store/storetest"
)

// TestDatabaseLost: while the database is away, the apis say so in a way that clients repeat, start
// nothing, and leave sandboxes alone. When it is back they go on.
func TestDatabaseLost(t *testing.T) {
	server, err := storetest.StartServer(t.Context())
	if errors.Is(err, storetest.ErrMissing) {
		t.Skip(err)
	}
	must(t, err)
	t.Cleanup(server.Stop)
	database, err := server.Create(t.Context(), "shoal")
	must(t, err)
	two := openTwoOn(t, database)
	if a := two.create(0); a.status != http.StatusCreated {
		t.Fatalf("create: %d %v", a.status, a.body)
	}

	server.Kill()
	away := func(method, path string, body any) func() bool {
		return func() bool { // what an api has just read, it knows for two seconds
			a := two.ask(0, method, path, body)
			if a.status < 500 && method != http.MethodGet {
				t.Fatalf("%s %s without a database: %d %v", method, path, a.status, a.body)
			}
			return a.status == http.StatusServiceUnavailable && a.body["error_code"] == shoal.ErrStoreAway.Code
		}
	}
	eventually(t, "lists say so", away(http.MethodGet, "/templates", nil))
	eventually(t, "creates say so", away(http.MethodPost, "/v2/sandboxes",
		map[string]any{"templateID": shoal.BaseTemplateID}))
	eventually(t, "it is not ready", func() bool { return two.health(0) == "" })
	if n := two.running(); n != 1 {
		t.Errorf("%d sandboxes while the database is away", n)
	}

	must(t, server.Run(t.Context()))
	eventually(t, "both are ready", func() bool { return two.health(0) == ready && two.health(1) == ready })
	if a := two.create(0); a.status != http.StatusCreated {
		t.Errorf("create afterwards: %d %v", a.status, a.body)
	}
	if n := two.running(); n != 2 {
		t.Errorf("%d sandboxes afterwards", n)
	}
}

// running counts the sandboxes on the machine.
func (two *twoAPIs) running() int {
	two.t.Helper()
	list, err := two.node.List(two.t.Context())
	must(two.t, err)
	return len(list)
}
