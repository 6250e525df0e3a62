package controlplane

import (
	"context"

	"shoal/internal/account"
	"shoal/internal/config"
	"shoal/internal/issuer"
)

// openAccounts serves the pages at which people sign in, if there is a way.
func (p *ControlPlane) openAccounts(ctx context.Context, cfg *config.Config) error {
	list, err := cfg.ParseSignIn()
	if err != nil || (len(list) == 0 && !cfg.LocalAccounts) {
		return err
	}
	transport, err := cfg.IssuerTransport(p.log)
	if err != nil {
		return err
	}
	pages := account.Config{Auth: p.auth, Store: p.store, Passwords: cfg.LocalAccounts, PublicURL: cfg.PublicAPI}
	for _, one := range list {
		pages.Issuers = append(pages.Issuers, account.Issuer{Name: one.Name, Roles: one.RolesOf,
			Client: issuer.NewClient(issuer.ClientConfig{URL: one.URL, Discovery: one.Discovery, ID: one.Client,
				Secret: one.Secret, Scopes: one.Scopes, Groups: one.Groups}, transport, p.log)})
	}
	account.Mount(p.api, pages, p.log)
	if cfg.LocalAccounts {
		p.link, err = firstLink(ctx, p.store, cfg)
	}
	return err
}
