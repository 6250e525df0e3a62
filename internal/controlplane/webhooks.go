package controlplane

import (
	"log/slog"

	"shoal/internal/config"
	"shoal/internal/outbound"
	"shoal/internal/store"
	"shoal/internal/webhook"
)

// openSender prepares what sends events. Tenants name the receivers, so they are reached as
// package outbound allows it; what the operator allows to builds is not allowed to them.
func openSender(cfg *config.Config, st *store.Store, log *slog.Logger) (*webhook.Sender, error) {
	trusted, err := outbound.Trusting(cfg.TrustCA)
	if err != nil {
		return nil, err
	}
	out := cfg.Outbound(log)
	out.Allow, out.TLS = cfg.WebhookAllow, trusted
	return webhook.New(st, out, log)
}
