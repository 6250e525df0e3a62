package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"shoal/internal/certificate"
	"shoal/internal/config"
)

type trustCmd struct {
	Print  bool `help:"Only print its certificate (PEM), for other machines." xor:"what"`
	Remove bool `help:"Trust it no more." xor:"what"`
}

// Run lets this machine trust the local authority of the domain, by which Shoal serves it with
// --tls=local.
func (c *trustCmd) Run(ctx context.Context, cfg *config.Config) error {
	if cfg.TLS != config.TLSLocal {
		// The setting is that of `shoal up`, which this command is often called without.
		if cfg.TLS != config.TLSOff {
			return fmt.Errorf("the certificate is not of a local authority: tls = %s", cfg.TLS)
		}
		if cfg.Domain == "" {
			cfg.Domain = config.LocalDomain
		}
	}
	domain := cfg.DomainName()
	if c.Remove {
		changes, err := certificate.Distrust(ctx, domain, certificate.Homes())
		tell("no longer trusted", changes)
		return err
	}
	if c.Print {
		data, err := os.ReadFile(certificate.AuthorityFile(cfg.Authority()))
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("there is no authority of %s yet; `shoal up --tls=local` makes it", domain)
		}
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(data)
		return err
	}
	// Sandbox kernels run as nobody and must be able to traverse the data directory.
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return err
	}
	authority, err := certificate.OpenAuthority(cfg.Authority(), domain)
	if err != nil {
		return err
	}
	changes, err := authority.Trust(ctx, domain, certificate.Homes())
	tell("trusted", changes)
	if err != nil {
		return err
	}
	fmt.Printf("\nBrowsers and curl need a restart at most. Node and Python have stores of their own:\n\n%s", trustLines(authority))
	return nil
}

func tell(what string, changes []certificate.Change) {
	for _, c := range changes {
		if c.Skipped != "" {
			fmt.Printf("not changed: %s (%s)\n", c.Store, c.Skipped)
			continue
		}
		fmt.Printf("%s: %s\n", what, c.Store)
	}
}

// trustLines are variables by which programs with a store of their own trust an authority.
func trustLines(a *certificate.Authority) string {
	python, trusted := a.Bundle()
	if !trusted {
		python = a.File // is then all that they trust
	}
	return fmt.Sprintf("  export NODE_EXTRA_CA_CERTS=%s\n  export SSL_CERT_FILE=%s\n", a.File, python)
}
