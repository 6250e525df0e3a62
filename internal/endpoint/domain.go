package endpoint

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"shoal/internal/shares"
)

// Domain serves the names of the public domain at one address: the API's, and those of the
// sandboxes, so that clients need no address but the domain (runtime.md §1.3, clients.md §2.1).
type Domain struct {
	Name string // without a port, in lower case
	// API and Proxy are the servers of those roles, whose handlers and bounds hold here too.
	// A role that another process has is nil.
	API, Proxy *http.Server
	// Trusted are load balancers, whose word on the client is taken.
	Trusted []netip.Prefix
}

// NewServer returns the domain's server: over TLS if there are settings for it, else for a
// load balancer that ends TLS. Both speak HTTP/1.1 and HTTP/2. At least one role must be there.
func (d *Domain) NewServer(secure bool, log *slog.Logger) *http.Server {
	base := cmp.Or(d.Proxy, d.API)
	s := &http.Server{
		Handler: d,
		// Time-outs of bodies and answers differ by role.
		ReadHeaderTimeout: base.ReadHeaderTimeout, IdleTimeout: base.IdleTimeout, MaxHeaderBytes: base.MaxHeaderBytes,
		HTTP2:     base.HTTP2,
		Protocols: new(http.Protocols),
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug), // handshakes that fail
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(secure)
	s.Protocols.SetUnencryptedHTTP2(!secure)
	return s
}

// ServeHTTP sends a request to the role that its host name is of. Names that are not of the
// domain are refused, so none that somebody else lets lead here (DNS rebinding) reaches a role.
func (d *Domain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	label, ours := d.label(r.Host)
	r = d.forwarded(r)
	switch {
	case !ours:
		http.Error(w, fmt.Sprintf("This address serves api.%s and PORT-SANDBOX.%s only.", d.Name, d.Name),
			http.StatusMisdirectedRequest)
	case label == "api" && d.API != nil:
		limitTimes(w, d.API)
		d.API.Handler.ServeHTTP(w, d.fromClient(r))
	case routes(label) && d.Proxy != nil:
		limitTimes(w, d.Proxy)
		d.Proxy.Handler.ServeHTTP(w, r)
	default:
		http.Error(w, fmt.Sprintf("Nothing is served at this name. The API is at https://api.%s, port P of sandbox S at https://P-S.%s.",
			d.Name, d.Name), http.StatusNotFound)
	}
}

// sandboxLabel begins the label of a port of a sandbox. The proxy says what is wrong with the rest.
var sandboxLabel = regexp.MustCompile(`^[0-9]+-`)

// routes reports whether the proxy answers a name: a port of a sandbox, or the address that
// all sandboxes share, which headers route (runtime.md §1.2).
func routes(label string) bool { return label == "sandbox" || sandboxLabel.MatchString(label) }

// label is what comes before the domain in a host; "" for the domain itself.
func (d *Domain) label(host string) (label string, ours bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == d.Name {
		return "", true
	}
	label, ours = strings.CutSuffix(host, "."+d.Name)
	return label, ours && !strings.Contains(label, ".")
}

// limitTimes sets the deadlines that a role's own server would have set. The server lifts them
// when the request has been answered.
func limitTimes(w http.ResponseWriter, role *http.Server) {
	control, now := http.NewResponseController(w), time.Now()
	// An error means that the connection is gone.
	if role.ReadTimeout > 0 {
		_ = control.SetReadDeadline(now.Add(role.ReadTimeout))
	}
	if role.WriteTimeout > 0 {
		_ = control.SetWriteDeadline(now.Add(role.WriteTimeout))
	}
}

// forwarded makes the request say who sent it and how, as its reader expects it behind
// something that ends TLS. Only what a trusted load balancer says of that is kept.
func (d *Domain) forwarded(r *http.Request) *http.Request {
	from := shares.AddressOf(r)
	if !from.IsValid() {
		return r
	}
	h := r.Header
	way, scheme, host := from.String(), schemeOf(r), r.Host
	if d.trusts(from) {
		if before := h.Values("X-Forwarded-For"); len(before) > 0 {
			way = strings.Join(before, ", ") + ", " + way
		}
		if said := strings.ToLower(h.Get("X-Forwarded-Proto")); said == "https" || said == "http" {
			scheme = said
		}
		host = cmp.Or(h.Get("X-Forwarded-Host"), host)
	} else {
		h.Del("Forwarded")
		h.Del("X-Forwarded-Port")
		h.Del("X-Real-Ip")
	}
	h.Set("X-Forwarded-For", way)
	h.Set("X-Forwarded-Proto", scheme)
	h.Set("X-Forwarded-Host", host)
	if scheme == "https" && r.TLS == nil {
		// Handlers tell by it how the client reached them.
		secure := *r
		secure.TLS = &tls.ConnectionState{}
		return &secure
	}
	return r
}

// fromClient gives a request behind trusted load balancers the address of the client that the last
// of them names. The port is not known.
func (d *Domain) fromClient(r *http.Request) *http.Request {
	way := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
	for i := len(way) - 1; i >= 0; i-- {
		addr, err := netip.ParseAddr(strings.TrimSpace(way[i]))
		if err != nil {
			return r
		}
		if addr = addr.Unmap().WithZone(""); d.trusts(addr) {
			continue
		}
		if shares.AddressOf(r).WithZone("") == addr {
			return r
		}
		named := *r
		named.RemoteAddr = netip.AddrPortFrom(addr, 0).String()
		return &named
	}
	return r
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func (d *Domain) trusts(addr netip.Addr) bool {
	for _, p := range d.Trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
