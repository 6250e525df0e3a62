package controlplane

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/issuer"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// openAuth returns what authenticates callers.
func (p *ControlPlane) openAuth(cfg *config.Config) (*auth.Authenticator, error) {
	settings := auth.Config{AdminToken: cfg.AdminToken, NoAccessTokens: cfg.AccessTokens == "off",
		Tries: p.live, Changed: p.changed}
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
		if settings.Issuers, err = openIssuers(cfg, list, p.log); err != nil {
			return nil, err
		}
	}
	return auth.New(p.store, settings, p.log), nil
}

// tellSwitches tells the machines how the features stand that no api sees anybody ask for.
func (p *ControlPlane) tellSwitches(ctx context.Context) error {
	return p.fleet.TellSwitch(ctx, shoal.SwitchSignedURLs, func(ctx context.Context) (shoal.Standing, error) {
		return p.auth.Standing(ctx, shoal.SwitchSignedURLs)
	})
}

// openIssuers returns what checks the tokens of a list of issuers.
func openIssuers(cfg *config.Config, list []config.Issuer, log *slog.Logger) (*issuer.Issuers, error) {
	transport, err := cfg.IssuerTransport(log)
	if err != nil {
		return nil, err
	}
	trusted := make([]issuer.Config, len(list))
	for i, one := range list {
		trusted[i] = issuer.Config{URL: one.URL, Discovery: one.Discovery, Audiences: one.Audiences}
	}
	return issuer.New(trusted, transport, log), nil
}

// firstLink makes a link for the first person, if nobody has a way to sign in. Each start makes a
// new one, as only its hash is kept; the former ends.
func firstLink(ctx context.Context, st *store.Store, cfg *config.Config) (secret string, err error) {
	issuers := slices.AppendSeq(slices.Collect(maps.Keys(cfg.JWTIssuers)), maps.Keys(cfg.SignInIssuers))
	has, err := st.HasWayIn(ctx, issuers)
	if err != nil || has {
		return "", err
	}
	return auth.NewPeople(st).Invite(ctx, "")
}
