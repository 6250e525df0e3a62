package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Headers that route a request on a host that serves all sandboxes (runtime.md §1.2).
const (
	headerSandbox = "E2b-Sandbox-Id"
	headerPort    = "E2b-Sandbox-Port"
)

// headerRoute is in the answer of a proxy that does not know the sandbox: the proxy before it
// has asked the wrong machine, or the sandbox has ended. No guest can send it.
const (
	headerRoute  = "X-Shoal-Route"
	routeUnknown = "unknown"
)

// route is the destination of a request.
type route struct {
	sandboxID string
	port      uint64 // any number is accepted, but no port above 65535 is ever open
	signed    bool   // found by the signature of a file URL, which the request itself does not say
}

// routeError means that a request names no sandbox. It is answered in plain text with
// status 400, as by the reference implementation.
type routeError string

func (e routeError) Error() string { return string(e) }

// errUnrouted means that a request has neither a sandbox in its host name nor routing
// headers. A signed file URL may still identify the sandbox.
const errUnrouted = routeError("Invalid host")

// routeOf decides by the host name, or else by headers. Unlike in the reference
// implementation, headers count on every host whose first label is not <port>-<id>.
func routeOf(r *http.Request) (route, error) {
	host := hostOnly(r.Host)
	label, _, dotted := strings.Cut(host, ".")
	port, id, dashed := strings.Cut(label, "-")
	isAddress := isIP(host)
	if dotted && dashed && !isAddress {
		// Host names are the same in upper and lower case; sandbox IDs have only lower.
		return parseRoute(port, lower(strings.SplitN(id, "-", 2)[0]))
	}
	id, port = r.Header.Get(headerSandbox), r.Header.Get(headerPort)
	switch {
	case id != "" && port != "":
		return parseRoute(port, strings.SplitN(id, "-", 2)[0])
	case id != "":
		return route{}, routeError("missing header " + headerPort)
	case port != "":
		return route{}, routeError("missing header " + headerSandbox)
	default:
		return route{}, errUnrouted
	}
}

func parseRoute(port, id string) (route, error) {
	number, err := strconv.ParseUint(port, 10, 64)
	if err != nil {
		return route{}, routeError("Invalid sandbox port")
	}
	if !isSandboxID(id) {
		return route{}, routeError("Invalid sandbox ID")
	}
	return route{sandboxID: id, port: number}, nil
}

// lower changes what DNS holds for equal, which is ASCII only.
func lower(label string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, label)
}

func isSandboxID(id string) bool {
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return id != ""
}

// hostOnly strips the port and the brackets of an IPv6 address.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
