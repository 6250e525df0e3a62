package doctor

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"

	"shoal/internal/certificate"
	"shoal/internal/config"
)

// lookupTime is how long a name may take to be found.
const lookupTime = 5 * time.Second

// checkDomain looks at what clients of the domain need: a certificate that they take, and
// names that lead somewhere.
func checkDomain(ctx context.Context, cfg *config.Config) Result {
	if !cfg.ServesDomain() {
		return ok("not served; clients are told the addresses of the API and the proxy")
	}
	found, wrong := certificate.Inspect(cfg, time.Now())
	if len(wrong) > 0 {
		return Warn.because(wrong[0].Fix, "%s", wrong[0].Problem)
	}
	if r, bad := checkDomainPort(cfg); bad {
		return r
	}
	if r, bad := checkNames(ctx, cfg, find); bad {
		return r
	}
	if r, bad := checkTrust(cfg); bad {
		return r
	}
	return ok("%s; %s", cfg.Domain, found)
}

// checkTrust looks whether this machine trusts the local authority, if there is one yet.
func checkTrust(cfg *config.Config) (Result, bool) {
	if cfg.TLS != config.TLSLocal {
		return Result{}, false
	}
	a, err := certificate.ReadAuthority(cfg.Authority())
	if err != nil {
		return Result{}, false
	}
	if _, trusted := a.Bundle(); trusted {
		return Result{}, false
	}
	return Note.because("shoal trust", "%s works for programs that are told to trust %s", cfg.Domain, a.File), true
}

// checkDomainPort compares the port that clients use with the one that is listened on. Only
// what something stands before may differ, and before loopback there is nothing.
func checkDomainPort(cfg *config.Config) (Result, bool) {
	_, asked, err := net.SplitHostPort(cfg.Domain)
	if err != nil {
		asked = "443"
	}
	host, port, err := net.SplitHostPort(cfg.DomainAddresses()[0])
	if err == nil && port != asked && (host == "127.0.0.1" || host == "::1") {
		return Warn.because(fmt.Sprintf("set domain = %s:%s, or tls-listen to port %s", cfg.DomainName(), port, asked),
			"clients of %s ask port %s, and Shoal listens on %s", cfg.Domain, asked, port), true
	}
	return Result{}, false
}

// checkNames looks the names up as programs of this machine do.
func checkNames(ctx context.Context, cfg *config.Config, find func(context.Context, string) error) (Result, bool) {
	domain := cfg.DomainName()
	for _, name := range []string{"api." + domain, "3000-isandbox." + domain} {
		err := find(ctx, name)
		switch {
		case err == nil:
		case config.IsLocalName(domain):
			return Warn.because("apt-get install libnss-myhostname, which finds all names below localhost",
				"browsers and curl find %s by themselves, but this machine's resolver does not, and so neither do Node and Python (%v)",
				name, err), true
		default:
			return Warn.because(fmt.Sprintf("let api.%s and *.%s lead to this machine or its load balancer in DNS", domain, domain),
				"%s is not found from this machine: %v", name, err), true
		}
	}
	return Result{}, false
}

// find asks the C library, as other programs do; Go's own resolver reads no modules of it.
func find(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	if _, err := exec.LookPath("getent"); err != nil {
		_, err := net.DefaultResolver.LookupHost(ctx, name)
		return err
	}
	if err := exec.CommandContext(ctx, "getent", "ahosts", name).Run(); err != nil {
		return fmt.Errorf("getent ahosts %s: %w", name, err)
	}
	return nil
}
