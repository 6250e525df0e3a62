package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"shoal/internal/shoal"
)

func TestOrigins(t *testing.T) {
	all := Origins{Allowed: []string{AnyOrigin}}
	named := Origins{Allowed: []string{"https://console.example"}}
	dev := Origins{Loopback: true}
	devNamed := Origins{Loopback: true, Allowed: []string{"http://box.lan:8080"}}
	for _, c := range []struct {
		origins      Origins
		host, origin string
		allow        string
		refused      bool
	}{
		{all, "api.example", "", "*", false},
		{all, "api.example", "https://any.example", "*", false},
		{named, "api.example", "", "", false},
		{named, "api.example", "https://console.example", "https://console.example", false},
		{named, "api.example", "https://console.example.evil", "", true},
		{named, "api.example", "http://console.example", "", true},
		{named, "api.example", "null", "", true},
		{named, "api.example", "http://localhost", "", true},
		// SDKs send no origin.
		{dev, "localhost:3000", "", "", false},
		{dev, "LOCALHOST:3000", "", "", false},
		{dev, "127.0.0.1:3000", "", "", false},
		{dev, "127.9.9.9", "", "", false},
		{dev, "[::1]:3000", "", "", false},
		{dev, "api.localhost:3000", "", "", false},
		{dev, "localhost:3000", "http://localhost:5173", "http://localhost:5173", false},
		{dev, "localhost:3000", "http://app.localhost:5173", "http://app.localhost:5173", false},
		{dev, "localhost:3000", "http://[::1]:5173", "http://[::1]:5173", false},
		// Foreign pages, with and without a name that leads here.
		{dev, "localhost:3000", "https://evil.example", "", true},
		{dev, "localhost:3000", "http://localhost.evil.example", "", true},
		{dev, "localhost:3000", "null", "", true},
		{dev, "evil.example:3000", "http://evil.example:3000", "", true},
		{dev, "evil.example:3000", "", "", true},
		{dev, "localhost.evil.example:3000", "", "", true},
		{dev, "127.0.0.1.evil.example:3000", "", "", true},
		{dev, "", "", "", true},
		// What a sandbox serves is not this machine's page.
		{dev, "localhost:3000", "http://3000-iabcdefghij0123456789.localhost:3002", "", true},
		{dev, "localhost:3000", "http://3000-IABCDEFGHIJ0123456789.LOCALHOST:3002", "", true},
		{devNamed, "box.lan:3000", "http://box.lan:8080", "http://box.lan:8080", false},
		{devNamed, "box.lan:3000", "http://box.lan", "", true},
		{devNamed, "other.lan:3000", "", "", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/health", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		allow, err := c.origins.check(r)
		if allow != c.allow || (err != nil) != c.refused || (err != nil && !shoal.ErrOrigin.Matches(err)) {
			t.Errorf("%+v: host %q, origin %q: allows %q, %v", c.origins, c.host, c.origin, allow, err)
		}
	}
}

// TestForeignPagesChangeNothing sends what a page can send without a preflight.
func TestForeignPagesChangeNothing(t *testing.T) {
	w := newWorldWith(t, Origins{Loopback: true})
	for _, origin := range []string{"https://evil.example", "null"} {
		r := w.call("POST", "/v2/sandboxes", `{"templateID":"base"}`, "Origin", origin)
		r.wants(t, 403, "may not call this API")
		if r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q may read the answer", origin)
		}
		pre := w.call("OPTIONS", "/v2/sandboxes", "", "Origin", origin, "X-API-Key", "")
		if pre.status != 403 || pre.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %q: %d %v", origin, pre.status, pre.header)
		}
	}
	if made, err := w.node.List(t.Context()); err != nil || len(made) != 0 {
		t.Errorf("%d sandboxes were made (%v)", len(made), err)
	}
	own := w.call("OPTIONS", "/v2/sandboxes", "", "Origin", "http://localhost:5173", "X-API-Key", "")
	if own.status != 204 || own.header.Get("Access-Control-Allow-Origin") != "http://localhost:5173" ||
		own.header.Get("Vary") != "Origin" {
		t.Errorf("preflight of a page of this machine: %d %v", own.status, own.header)
	}
}
