package doctor

import (
	"context"
	"net/url"

	"shoal/internal/config"
	"shoal/internal/telemetry/otlp"
)

// askCollector sends nothing of each signal to the collector, which it takes as it takes all else.
func askCollector(ctx context.Context, cfg *config.Config) []Result {
	if cfg.OTLPEndpoint == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	to, err := cfg.Collector()
	if err != nil {
		return nil // the configuration is refused for it
	}
	shown := to.Endpoint
	if u, err := url.Parse(shown); err == nil {
		shown = u.Redacted()
	}
	for _, s := range to.Signals {
		if err := otlp.Probe(ctx, to, s); err != nil {
			return []Result{Warn.because("start the collector, or correct otlp-endpoint, otlp-protocol (4317 is for grpc, 4318 for http/protobuf), otlp-headers or otlp-signals",
				"%s does not take %s, which are lost: %v", shown, s, bare(err)).of("collector")}
		}
	}
	return []Result{ok("%s takes traces, metrics and logs as they are sent", shown).of("collector")}
}
