package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRouteGrammar(t *testing.T) {
	headers := func(id, port string) http.Header {
		h := http.Header{}
		if id != "" {
			h.Set(headerSandbox, id)
		}
		if port != "" {
			h.Set(headerPort, port)
		}
		return h
	}
	for _, c := range []struct {
		host   string
		header http.Header
		id     string
		port   uint64
		err    string
	}{
		{"3000-" + testID + ".example.com", nil, testID, 3000, ""},
		{"3000-" + testID + ".localhost:3002", nil, testID, 3000, ""},
		{"3000-" + testID + "-6532622b.example.com", nil, testID, 3000, ""},
		{"99999999-" + testID + ".x.y", nil, testID, 99999999, ""},
		{"x-" + testID + ".example.com", nil, "", 0, "Invalid sandbox port"},
		{"80-IABCDEFGHIJ0123456789.Example.COM", nil, testID, 80, ""},
		{"80-under_score.example.com", nil, "", 0, "Invalid sandbox ID"},
		{"localhost", headers("IABC", "80"), "", 0, "Invalid sandbox ID"},
		{"80-.example.com", nil, "", 0, "Invalid sandbox ID"},
		{"localhost:3002", headers(testID, "49983"), testID, 49983, ""},
		{"127.0.0.1:3002", headers(testID, "80"), testID, 80, ""},
		{"[::1]:3002", headers(testID, "80"), testID, 80, ""},
		{"sandbox.example.com", headers(testID, "80"), testID, 80, ""},
		{"any.host.at.all", headers(testID+"-6532622b", "80"), testID, 80, ""},
		{"81-" + testID + ".example.com", headers("iother", "80"), testID, 81, ""},
		{"localhost", headers(testID, ""), "", 0, "missing header E2b-Sandbox-Port"},
		{"localhost", headers("", "80"), "", 0, "missing header E2b-Sandbox-Id"},
		{"localhost", headers(testID, "-1"), "", 0, "Invalid sandbox port"},
		{"localhost", nil, "", 0, "Invalid host"},
		{"example.com", nil, "", 0, "Invalid host"},
	} {
		r := httptest.NewRequest("GET", "http://"+c.host+"/", nil)
		r.Host = c.host
		for k, v := range c.header {
			r.Header[k] = v
		}
		got, err := routeOf(r)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s %v: error %v, want %q", c.host, c.header, err, c.err)
			}
			continue
		}
		if err != nil || got.sandboxID != c.id || got.port != c.port {
			t.Errorf("%s: got %+v %v, want %s %d", c.host, got, err, c.id, c.port)
		}
	}
}
