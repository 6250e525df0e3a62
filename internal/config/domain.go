package config

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What TLS may be: who ends TLS for the domain, and whose certificate it is.
const (
	TLSOff      = "off"      // nobody here; the domain has no listener
	TLSLocal    = "local"    // Shoal, by an authority of its own
	TLSFiles    = "files"    // Shoal, by a certificate in files
	TLSACME     = "acme"     // Shoal, by a certificate that it asks for
	TLSBalancer = "balancer" // a load balancer, which speaks HTTP with Shoal
)

// LocalDomain is the domain with TLS of TLSLocal, unless another is set. It has two labels,
// because many clients refuse a wildcard for one.
const LocalDomain = "sandbox.localhost"

const (
	httpsPort = "443"
	// maxDomain is the length of the longest domain: "65535-" and a sandbox's ID of 21
	// characters come before it, and a name has 253.
	maxDomain = 253 - 28
)

// setDomain gives the domain its default.
func (c *Config) setDomain() {
	if c.Domain != "" || c.TLS != TLSLocal {
		return
	}
	c.Domain = LocalDomain
	if _, port, err := net.SplitHostPort(c.TLSListen); err == nil && port != httpsPort {
		c.Domain += ":" + port
	}
}

// DomainName is the domain without a port, in lower case.
func (c *Config) DomainName() string {
	name, _ := c.splitDomain()
	return name
}

func (c *Config) splitDomain() (name, port string) {
	name, port, err := net.SplitHostPort(c.Domain)
	if err != nil {
		name, port = c.Domain, ""
	}
	return strings.ToLower(name), port
}

// ServesDomain reports whether the domain has a listener.
func (c *Config) ServesDomain() bool { return c.TLS != TLSOff && c.TLS != "" }

// EndsTLS reports whether Shoal itself has the certificate.
func (c *Config) EndsTLS() bool { return c.ServesDomain() && c.TLS != TLSBalancer }

// IsLocalName reports whether a name leads to the machine that asks, without DNS
// (RFC 6761, section 6.3).
func IsLocalName(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// DomainAddresses are those that the domain is served at. Only what is reachable from this
// machine alone is by default on loopback, where a name has an IPv6 address besides.
func (c *Config) DomainAddresses() []string {
	switch {
	case !c.ServesDomain():
		return nil
	case c.TLSListen == "" && IsLocalName(c.DomainName()):
		return loopbackBoth(httpsPort)
	case c.TLSListen == "":
		return []string{":" + httpsPort}
	}
	if host, port, err := net.SplitHostPort(c.TLSListen); err == nil && host == "localhost" {
		return loopbackBoth(port)
	}
	return []string{c.TLSListen}
}

// loopbackBoth are the addresses that clients try for a name below localhost, as far as this
// machine has them.
func loopbackBoth(port string) []string {
	list := []string{net.JoinHostPort("127.0.0.1", port)}
	own, err := net.InterfaceAddrs()
	if err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(net.IPv6loopback)
	}) {
		list = append(list, net.JoinHostPort("::1", port))
	}
	return list
}

// TrustedPrefixes parses TrustedProxies, which Check has accepted.
func (c *Config) TrustedPrefixes() []netip.Prefix {
	var list []netip.Prefix
	for _, s := range c.TrustedProxies {
		if p, err := parseProxies(s); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// parseProxies reads a CIDR or a single address.
func parseProxies(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// Authority is the directory of the local authority of a domain: each has its own, because an
// authority vouches for one domain only.
func (c *Config) Authority() string { return filepath.Join(c.DataDir, "authority", c.DomainName()) }

// ACMEDir is the directory of the ACME account and its certificates.
func (c *Config) ACMEDir() string { return filepath.Join(c.DataDir, "acme") }

var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// checkDomain checks the settings of the domain's listener.
func (c *Config) checkDomain(bad func(name, format string, args ...any)) {
	if strings.Contains(c.Domain, "/") {
		bad("domain", "%q must be a host name, with a port if need be, and no scheme", c.Domain)
	}
	for _, s := range c.TrustedProxies {
		if _, err := parseProxies(s); err != nil {
			bad("trusted-proxies", "%q is neither an IP address nor a CIDR", s)
		}
	}
	for name, set := range map[string]struct{ value, mode string }{
		"tls-cert": {c.TLSCert, TLSFiles}, "tls-key": {c.TLSKey, TLSFiles},
		"acme-hook": {c.ACMEHook, TLSACME}, "acme-email": {c.ACMEEmail, TLSACME}, "acme-roots": {c.ACMERoots, TLSACME},
	} {
		if set.value != "" && c.TLS != set.mode {
			bad(name, "has no effect without tls = %s", set.mode)
		}
	}
	if !c.ServesDomain() {
		if c.TLSListen != "" {
			bad("tls-listen", "has no effect while tls is off")
		}
		return
	}
	c.checkDomainName(bad)
	if c.TLSListen != "" {
		if host, _, err := net.SplitHostPort(c.TLSListen); err != nil {
			bad("tls-listen", "%q is not HOST:PORT", c.TLSListen)
		} else if c.Dev && !isLoopback(host) {
			bad("tls-listen", "%q is not a loopback address, and --dev has a publicly known key", c.TLSListen)
		}
	}
	switch c.TLS {
	case TLSFiles:
		if c.TLSCert == "" || c.TLSKey == "" {
			bad("tls-cert, tls-key", "name the files with the certificate, its chain included, and its key")
		}
	case TLSACME:
		if u, err := url.Parse(c.ACMEDirectory); err != nil || u.Scheme != "https" || u.Host == "" {
			bad("acme-directory", "%q must be https:// and a host", c.ACMEDirectory)
		}
	case TLSBalancer:
		if len(c.TrustedProxies) == 0 {
			bad("trusted-proxies", "name the addresses of the load balancer that ends TLS")
		}
	}
}

func (c *Config) checkDomainName(bad func(name, format string, args ...any)) {
	name := c.DomainName()
	labels := strings.Split(name, ".")
	switch {
	case name == "":
		bad("domain", "is not set, and tls = %s needs it, such as sandboxes.example.com", cmp.Or(c.TLS, TLSOff))
	case slices.ContainsFunc(labels, func(l string) bool { return !hostLabel.MatchString(l) }) || isAddress(name):
		bad("domain", "%q is not a host name", c.Domain)
	case len(labels) < 2:
		bad("domain", "%q has one label, and clients refuse certificates for *.%s; use sandbox.%s", name, name, name)
	case len(name) > maxDomain:
		bad("domain", "is longer than %d characters, and names of sandboxes come before it", maxDomain)
	case c.TLS == TLSACME && IsLocalName(name):
		bad("domain", "no public authority vouches for %s; use tls = local", name)
	case c.Dev && !IsLocalName(name):
		bad("domain", "--dev has a publicly known key, and serves only names below localhost by TLS, such as %s", LocalDomain)
	}
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// APIURL is where clients reach the API, without a path at its end, as far as the settings tell.
func (c *Config) APIURL() string {
	switch {
	case c.PublicAPI != "":
		return strings.TrimSuffix(c.PublicAPI, "/")
	case c.ServesDomain():
		return "https://api." + c.Domain
	}
	return "http://" + Reachable(c.APIListen)
}

// TrustDomainName is the installation's name in the identities of its sandboxes.
func (c *Config) TrustDomainName() string {
	if c.TrustDomain != "" {
		return c.TrustDomain
	}
	u, err := url.Parse(c.APIURL())
	if err != nil || !trustDomain.MatchString(strings.ToLower(u.Hostname())) {
		return "localhost" // an IPv6 address is no name of a trust domain
	}
	return strings.ToLower(u.Hostname())
}

// trustDomain is what SPIFFE lets a trust domain be named.
var trustDomain = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)

// checkSeal checks the settings of keys and identities.
func (c *Config) checkSeal(bad func(name, format string, args ...any)) {
	if c.SealCommand != "" && !filepath.IsAbs(c.SealCommand) {
		bad("seal-command", "%q is not an absolute path", c.SealCommand)
	}
	if c.TrustDomain != "" && !trustDomain.MatchString(c.TrustDomain) {
		bad("trust-domain", "%q must have 1 to 255 of a-z, 0-9, dots, dashes and underscores", c.TrustDomain)
	}
}
