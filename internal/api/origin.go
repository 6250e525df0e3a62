package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"shoal/internal/shoal"
)

// AnyOrigin lets the pages of every origin call.
const AnyOrigin = "*"

// Origins says which web pages may call the API. A page of another origin that may not is
// refused, also where a browser would only hide the answer from it.
type Origins struct {
	// Allowed are origins such as "https://console.example.com", or AnyOrigin. That is safe
	// as long as keys are secret: they are in a header, which no browser adds by itself.
	Allowed []string
	// Loopback lets pages of this machine call, and only requests to a loopback host or the
	// host of an allowed origin are answered. With a publicly known key any page could
	// otherwise let its own name lead to this machine (DNS rebinding) and be of the same
	// origin.
	Loopback bool
}

// sandboxName is a host name that leads to a sandbox's port. Its pages come from the sandbox.
var sandboxName = regexp.MustCompile(`(?i)^[0-9]+-[a-z0-9]+\.`)

// check returns what Access-Control-Allow-Origin says, or an error from the catalogue.
func (o Origins) check(r *http.Request) (allow string, err error) {
	if err := o.checkHost(r); err != nil {
		return "", err
	}
	origin := r.Header.Get("Origin")
	switch {
	case slices.Contains(o.Allowed, AnyOrigin):
		return AnyOrigin, nil
	case origin == "", slices.Contains(o.Allowed, origin), o.Loopback && isLoopbackOrigin(origin):
		return origin, nil
	}
	return "", shoal.ErrOrigin.New("Web pages of %q may not call this API", origin)
}

// checkHost refuses names that somebody else lets lead here.
func (o Origins) checkHost(r *http.Request) error {
	if o.Loopback && !o.allowsHost(r.Host) {
		return shoal.ErrOrigin.New("The request names the host %q, which is not this machine's", r.Host)
	}
	return nil
}

func (o Origins) allowsHost(host string) bool {
	name := bareHost(host)
	if isLoopbackName(name) {
		return true
	}
	return slices.ContainsFunc(o.Allowed, func(origin string) bool {
		u, err := url.Parse(origin)
		return err == nil && u.Hostname() != "" && strings.EqualFold(u.Hostname(), name)
	})
}

func isLoopbackOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && isLoopbackName(u.Hostname()) && !sandboxName.MatchString(u.Hostname())
}

// isLoopbackName reports whether a name leads to this machine without DNS (RFC 6761, section 6.3).
func isLoopbackName(name string) bool {
	name = strings.ToLower(name)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// bareHost is a Host header without its port.
func bareHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
