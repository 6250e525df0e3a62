package certificate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"shoal/internal/config"
)

// soon is how long before its end a certificate from files should have been renewed.
const soon = 14 * 24 * time.Hour

// Finding is what is wrong with a certificate.
type Finding struct {
	// Fatal means that clients refuse it; else they will, or some do.
	Fatal        bool
	Problem, Fix string
}

// Inspect looks at the certificate of the domain, and says in a line what is there. Without
// one, the line is empty.
func Inspect(cfg *config.Config, now time.Time) (found string, wrong []Finding) {
	switch cfg.TLS {
	case config.TLSFiles:
		return inspectFiles(cfg, now)
	case config.TLSLocal:
		return inspectAuthority(cfg, now)
	}
	return "", nil
}

func inspectFiles(cfg *config.Config, now time.Time) (string, []Finding) {
	cert, err := ReadFiles(cfg.TLSCert, cfg.TLSKey)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", []Finding{{true, err.Error(), "let Shoal's user read both files"}}
	case err != nil:
		return "", []Finding{{true, err.Error(), "give the chain (PEM) as tls-cert, the domain's certificate first, and its key (PEM, without a password) as tls-key"}}
	}
	wrong := judge(cert.Leaf, cfg.DomainName(), now)
	if len(cert.Certificate) == 1 && string(cert.Leaf.RawIssuer) == string(cert.Leaf.RawSubject) {
		wrong = append(wrong, Finding{false, "the certificate vouches for itself, and some clients refuse that even if they trust it",
			"have it issued by an authority, or set tls = local, which makes one"})
	}
	return describe(cert.Leaf), wrong
}

func describe(cert *x509.Certificate) string {
	return fmt.Sprintf("of %s for %v until %s", cert.Issuer, cert.DNSNames, cert.NotAfter.Format(time.DateOnly))
}

// judge compares a certificate with the domain and the time.
func judge(cert *x509.Certificate, domain string, now time.Time) (wrong []Finding) {
	end := cert.NotAfter.Format(time.DateOnly)
	switch {
	case now.After(cert.NotAfter):
		wrong = append(wrong, Finding{true, "the certificate expired on " + end, "renew it; Shoal reads the files again by itself"})
	case now.Before(cert.NotBefore):
		wrong = append(wrong, Finding{true, "the certificate is good from " + cert.NotBefore.Format(time.DateTime) + " on",
			"check this machine's clock"})
	case now.After(cert.NotAfter.Add(-soon)):
		wrong = append(wrong, Finding{false, "the certificate expires on " + end, "renew it; Shoal reads the files again by itself"})
	}
	for _, name := range []string{"api." + domain, "3000-sandbox." + domain} {
		if cert.VerifyHostname(name) != nil {
			wrong = append(wrong, Finding{true, fmt.Sprintf("the certificate is for %v, not for *.%s", cert.DNSNames, domain),
				"have it issued for *." + domain + ", or set domain to the one it is for"})
			break
		}
	}
	return wrong
}

func inspectAuthority(cfg *config.Config, now time.Time) (string, []Finding) {
	a, err := ReadAuthority(cfg.Authority())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the local authority is made at the first start", nil
	case err != nil:
		return "", []Finding{{true, err.Error(), "let root alone own " + cfg.Authority()}}
	case now.After(a.Cert.NotAfter.Add(-issuedTime)):
		return "", []Finding{{true, "the local authority ends on " + a.Cert.NotAfter.Format(time.DateOnly),
			"remove " + cfg.Authority() + ", start again, and run `shoal trust` where it is trusted"}}
	}
	return "local authority, " + describe(a.Cert), nil
}
