package doctor

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"shoal/internal/config"
	"shoal/internal/telemetry/otlp/otlptest"
)

// TestCollector: it takes what it is sent, by each protocol; or says what is wrong.
func TestCollector(t *testing.T) {
	if got := askCollector(t.Context(), settings(t)); got != nil {
		t.Errorf("without a collector: %+v", got)
	}
	s := httptest.NewUnstartedServer(otlptest.New().Handler())
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Token") != "right" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(guarded.Close)
	tracesOnly := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(tracesOnly.Close)
	all := []string{"traces", "metrics", "logs"}
	for name, c := range map[string]struct {
		cfg   config.Config
		level Level
		found string
	}{
		"http":         {config.Config{OTLPEndpoint: s.URL, OTLPSignals: all}, OK, "takes"},
		"grpc":         {config.Config{OTLPEndpoint: s.URL, OTLPProtocol: "grpc", OTLPSignals: all}, OK, "takes"},
		"with a token": {config.Config{OTLPEndpoint: guarded.URL, OTLPHeaders: "Token=right", OTLPSignals: all}, OK, "takes"},
		"without":      {config.Config{OTLPEndpoint: guarded.URL, OTLPSignals: all}, Warn, "403"},
		"one signal":   {config.Config{OTLPEndpoint: tracesOnly.URL, OTLPSignals: all}, Warn, "does not take metrics"},
		"as is right":  {config.Config{OTLPEndpoint: tracesOnly.URL, OTLPSignals: all[:1]}, OK, "takes"},
		"nobody":       {config.Config{OTLPEndpoint: "http://127.0.0.1:1", OTLPSignals: all}, Warn, "refused"},
	} {
		r := about(askCollector(t.Context(), &c.cfg), "collector")
		if wants(t, r, c.level, c.found); t.Failed() {
			t.Fatalf("in the case %q", name)
		}
	}
}
