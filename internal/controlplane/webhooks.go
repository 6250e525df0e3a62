package controlplane

import (
	"log/slog"
	"net/netip"

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
	out := outbound.Config{Allow: cfg.WebhookAllow, Proxy: cfg.OutboundProxy, TLS: trusted, Log: log}
	if cfg.HostCIDR != "" { // a plane without a machine of its own may have none
		host, veth, _ := cfg.Prefixes()
		out.Own = []netip.Prefix{host, veth}
	}
	return webhook.New(st, out, log)
}
