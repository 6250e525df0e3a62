package doctor

import (
	"context"
	"log/slog"
	"time"

	"shoal/internal/config"
	"shoal/internal/issuer"
	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

// askIssuers asks each provider whose tokens let users in, or at which people sign in.
func askIssuers(ctx context.Context, cfg *config.Config) []Result {
	tokens, err := cfg.Issuers()
	signIns, wrong := cfg.ParseSignIn()
	if err != nil || wrong != nil {
		return nil // the configuration is refused for it
	}
	if len(tokens)+len(signIns) == 0 {
		return nil
	}
	transport, err := cfg.IssuerTransport(slog.New(slog.DiscardHandler))
	if err != nil {
		return []Result{Warn.because("correct trust-ca, outbound-allow or outbound-proxy",
			"no issuer can be asked: %v", err)}
	}
	var results []Result
	for _, one := range tokens {
		results = append(results, askIssuer(ctx, one, false, transport)...)
	}
	for _, one := range signIns {
		results = append(results, askIssuer(ctx, one.Issuer, true, transport)...)
	}
	return results
}

func askIssuer(ctx context.Context, one config.Issuer, signIn bool, transport *outbound.Transport) []Result {
	cfg := issuer.Config{URL: one.URL, Discovery: one.Discovery, Audiences: one.Audiences}
	seen, err := issuer.Look(ctx, cfg, signIn, transport)
	switch {
	case shoal.ErrOutboundRefused.Matches(err):
		return []Result{Warn.because("name the issuer's host in outbound-allow",
			"%s is at an internal address, which is not asked: nobody comes in by it", one.URL)}
	case err != nil:
		return []Result{Warn.because("correct the issuer's URL or its discovery=URL, name its authority in trust-ca, or mend the issuer",
			"nobody comes in by %s: %v", one.URL, err)}
	}
	results := []Result{ok("%s publishes %d key(s)", one.URL, seen.Keys)}
	if !seen.Date.IsZero() {
		results = append(results, exchange{sent: seen.Asked, told: seen.Date, received: seen.Answered,
			precision: time.Second}.judge())
	}
	return results
}
