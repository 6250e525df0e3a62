package controlplane

import (
	"log/slog"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/issuer"
	"shoal/internal/outbound"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// openAuth returns what authenticates callers.
func openAuth(cfg *config.Config, st *store.Store, log *slog.Logger) (*auth.Authenticator, error) {
	settings := auth.Config{AdminToken: cfg.AdminToken, NoAccessTokens: cfg.AccessTokens == "off"}
	if settings.AdminToken == "" && cfg.Dev {
		settings.AdminToken = shoal.DevAdminToken
	}
	var err error
	if settings.Off, err = shoal.ParseSwitches(cfg.SwitchOff); err != nil {
		return nil, err
	}
	list, err := cfg.Issuers()
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		if settings.Issuers, err = openIssuers(cfg, list, log); err != nil {
			return nil, err
		}
	}
	return auth.New(st, settings, log), nil
}

// openIssuers lets issuers be asked as registries are: an operator names them, but they name where
// their keys are.
func openIssuers(cfg *config.Config, list []config.Issuer, log *slog.Logger) (*issuer.Issuers, error) {
	transport, err := outbound.NewTransport(cfg.Outbound(log))
	if err != nil {
		return nil, err
	}
	trusted := make([]issuer.Config, len(list))
	for i, one := range list {
		trusted[i] = issuer.Config{URL: one.URL, Discovery: one.Discovery, Audiences: one.Audiences}
	}
	return issuer.New(trusted, transport, log), nil
}
