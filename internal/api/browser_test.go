package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestBrowser: with --dev, a real browser lets pages of this machine use the API, and no
// other page, however it tries.
func TestBrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no browser here: ", err)
	}
	w := newWorldWith(t, Origins{Loopback: true})
	api, err := url.Parse(w.url)
	w.must(err)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<p>waiting</p><script>
fetch("http://localhost:%s/v2/sandboxes?x="+location.host, {method: "POST", body: '{"templateID":"base"}',
  headers: {"X-API-Key": %q, "Content-Type": "application/json"}})
  .then(r => r.json()).then(b => b.sandboxID ? "created" : b.error_code, () => "blocked")
  .then(text => document.querySelector("p").textContent = text)</script>`, api.Port(), shoal.DevAPIKey)
	}))
	t.Cleanup(pages.Close)
	page, err := url.Parse(pages.URL)
	w.must(err)
	for name, c := range map[string]struct{ at, want string }{
		"this machine":        {"http://localhost:" + page.Port(), "<p>created</p>"},
		"by address":          {"http://127.0.0.1:" + page.Port(), "<p>created</p>"},
		"a foreign page":      {"http://evil.example:" + page.Port(), "<p>blocked</p>"},
		"a sandbox's page":    {"http://8080-iabc.localhost:" + page.Port(), "<p>blocked</p>"},
		"a name rebound here": {"http://rebound.example:" + api.Port() + "/health", "request.origin"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu",
				"--no-first-run", "--disable-background-networking", "--disable-component-update",
				"--disable-sync", "--user-data-dir="+t.TempDir(), "--virtual-time-budget=20000",
				"--host-resolver-rules=MAP *.example 127.0.0.1, MAP *.localhost 127.0.0.1",
				"--dump-dom", c.at).Output()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	if list, err := w.node.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("%d sandboxes were created, %v", len(list), err)
	}
}
