// Package proxy carries public traffic to sandboxes: it finds the sandbox by host name or
// headers, applies the sandbox's rules for incoming traffic, and streams in both
// directions.
package proxy

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"

	"shoal/internal/envdapi"
	"shoal/internal/shares"
	"shoal/internal/shoal"
	"shoal/internal/splice"
	"shoal/internal/telemetry"
)

// trafficTokenHeader carries the token for a sandbox whose public traffic is not allowed.
const trafficTokenHeader = "E2b-Traffic-Access-Token"

// Request is what a resolver is asked.
type Request struct {
	SandboxID string
	Port      uint64
	// These tokens came with the request, so that a paused sandbox is not woken for a
	// caller who could not use it.
	TrafficToken string
	EnvdToken    string
	// Passive requests do not wake a paused sandbox.
	Passive bool
	// Source is where the request came from: an address, or a network of IPv6.
	Source netip.Addr
	// Strayed is the Node of an earlier answer that turned out not to know the sandbox, or "".
	Strayed string
	// Admission is asked by Admit; nil admits every team.
	Admission func(teamID string) error
}

// Admit says whether the request may go on. A resolver asks as soon as it knows whose the
// sandbox is, before it waits for anything, and returns the error.
func (r Request) Admit(teamID string) error {
	if r.Admission == nil {
		return nil
	}
	return r.Admission(teamID)
}

// Target is a running sandbox as the proxy sees it. Either Host is set, or Node if the
// sandbox is behind another proxy.
type Target struct {
	ExecutionID string
	Host        netip.Addr
	// Node is host:port of the proxy on the sandbox's machine. That proxy then applies all
	// rules below.
	Node               string
	TrafficAccessToken string
	MaskRequestHost    string
	HTTPSPorts         []int
	// NoSignedURLs refuses URLs of files that are signed by the daemon's token.
	NoSignedURLs bool
}

// Resolver finds sandboxes. Its errors are from the catalogue; for a sandbox that is paused
// and stays so it is ErrSandboxNotRunning.
type Resolver interface {
	Resolve(ctx context.Context, r Request) (Target, error)
	// ResolveSigned finds the sandbox whose token signed a file URL, for requests on a
	// shared address without routing headers. It returns the sandbox's ID.
	ResolveSigned(ctx context.Context, source netip.Addr, method string, query url.Values) (string, error)
}

// Handler is the proxy.
type Handler struct {
	resolver Resolver
	log      *slog.Logger
	upstream *upstream
	open     *openRequests
	signed   *signedURLs
	meters   *meters
}

var _ http.Handler = (*Handler)(nil)

// New returns a proxy.
func New(resolver Resolver, log *slog.Logger) *Handler {
	return newHandler(resolver, log, shares.OfDescriptors(openShare, maxOpen))
}

// newHandler returns a proxy with so many open requests and connections to guests.
func newHandler(resolver Resolver, log *slog.Logger, total int) *Handler {
	return &Handler{resolver: resolver, log: log, upstream: newUpstream(total), open: newOpenRequests(total),
		signed: newSignedURLs(), meters: newMeters()}
}

// Forget resets every connection to an execution that has ended, so that none can reach the
// next sandbox at the same address.
func (h *Handler) Forget(executionID string) { h.upstream.forget(executionID) }

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Afterwards, what is left of the request's body is not waited for.
	defer bodyEndsSoon(w)
	r, end := h.meters.begin(r)
	defer end()
	rt, err := h.route(r)
	describe(r, rt)
	if shoal.ErrLookupLimit.Matches(err) {
		errorPage("", err).write(w, r)
		return
	}
	if err != nil {
		bodyEndsSoon(w)
		endsBy(r, outcomeUnrouted)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if rt.port == shoal.EnvdPort && isInternalRoute(r.URL) {
		internalRoutePage(r.URL.Path).write(w, r)
		return
	}
	place, refusal := h.open.enter(rt.sandboxID, weigh(r, rt))
	if refusal != nil {
		refusal.write(w, r)
		return
	}
	defer place.leave()
	body, from := newBody(r.Body), ""
	if client := splice.Of(r.Context()); client != nil && isBulkUpload(r, rt) {
		body.client = client
		defer func() {
			bodyEndsSoon(w)
			body.letGo()
		}()
	}
	for range maxResolves {
		var again bool
		if from, again = h.serve(w, r, rt, place, body, from); !again {
			return
		}
	}
	notFoundPage(rt.sandboxID, shoal.ErrSandboxNotFound.Code).write(w, r)
}

// maxResolves bounds how often a request looks up its sandbox again because the execution
// that it found ended before the request got there: the sandbox was just being paused. Or the
// machine that it was sent to did not know the sandbox.
const maxResolves = 3

// serve answers a request. It returns true if the request is to be sent again, because the
// execution that it found had ended, or the node it was sent to, which is returned, does not
// know the sandbox.
func (h *Handler) serve(
	w http.ResponseWriter, r *http.Request, rt route, place *place, body *body, strayed string,
) (node string, again bool) {
	var refusal *page
	lookup, span := telemetry.Start(r.Context(), "proxy.resolve")
	target, err := h.resolver.Resolve(lookup, Request{SandboxID: rt.sandboxID, Port: rt.port,
		Source: sourceOf(r), Strayed: strayed,
		TrafficToken: r.Header.Get(trafficTokenHeader), EnvdToken: r.Header.Get(envdapi.TokenHeader),
		Admission: func(teamID string) error {
			if refusal = place.join(teamID); refusal != nil {
				return shoal.ErrTeamRequests.New("%s", refusal.message)
			}
			return nil
		}})
	span.End(err)
	switch {
	case refusal != nil:
		refusal.write(w, r)
		return "", false
	case err != nil:
		if shoal.ErrSandboxNotFound.Matches(err) {
			w.Header().Set(headerRoute, routeUnknown)
		} else if known := shoal.AsError(err); known.Status >= http.StatusInternalServerError {
			id := requestID(r)
			w.Header().Set(shoal.RequestIDHeader, id)
			h.log.Warn("a request could not be routed", "sandbox", rt.sandboxID, "request", id, "error", err)
		}
		errorPage(rt.sandboxID, err).write(w, r)
		return "", false
	}
	if target.Node == "" {
		if p, refused := checkTraffic(r, rt, target); refused {
			p.write(w, r)
			return "", false
		}
		if target.NoSignedURLs && isSigned(r, rt) {
			noSignedURLsPage(rt.sandboxID).write(w, r)
			return "", false
		}
	}
	if rt.port > 65535 {
		closedPortPage(rt).write(w, r)
		return "", false
	}
	if isBulk(r, rt, target) {
		return "", h.download(w, r, rt, target)
	}
	return target.Node, h.forward(w, r, rt, target, body)
}

// route extends routeOf with signed file URLs, which need a lookup among the sandboxes.
func (h *Handler) route(r *http.Request) (route, error) {
	rt, err := routeOf(r)
	if !errors.Is(err, errUnrouted) || r.URL.Path != envdapi.FilesPath || !r.URL.Query().Has("signature") {
		return rt, err
	}
	id, signedErr := h.signed.owner(r, h.resolver)
	switch {
	case shoal.ErrLookupLimit.Matches(signedErr):
		return route{}, signedErr
	case signedErr != nil:
		return route{}, err
	}
	return route{sandboxID: id, port: shoal.EnvdPort, signed: true}, nil
}

// internalRoutes of envd are only for the orchestrator (runtime.md §1.5).
var internalRoutes = map[string]bool{envdapi.InitPath: true, envdapi.FreezePath: true,
	envdapi.UnfreezePath: true,
	envdapi.CollapsePath: true, envdapi.FsfreezePath: true, envdapi.FsthawPath: true,
	envdapi.UpgradePath: true, envdapi.PreparePath: true}

func isInternalRoute(u *url.URL) bool {
	return internalRoutes[path.Clean("/"+u.Path)]
}

// checkTraffic applies the rules of a sandbox without public traffic. The daemon checks a
// token of its own.
func checkTraffic(r *http.Request, rt route, target Target) (page, bool) {
	if target.TrafficAccessToken == "" || rt.port == shoal.EnvdPort {
		return page{}, false
	}
	got := r.Header.Get(trafficTokenHeader)
	if got == "" {
		return missingTokenPage(rt.sandboxID), true
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(target.TrafficAccessToken)) != 1 {
		return invalidTokenPage(rt.sandboxID), true
	}
	return page{}, false
}

// maskedHost returns the Host header that the guest's service sees.
func maskedHost(r *http.Request, rt route, target Target) string {
	if target.MaskRequestHost == "" || rt.port == shoal.EnvdPort {
		return ""
	}
	return strings.ReplaceAll(target.MaskRequestHost, "${PORT}", strconv.FormatUint(rt.port, 10))
}

// sourceOf returns where a request came from; the zero value if that is no TCP connection.
func sourceOf(r *http.Request) netip.Addr { return shares.SourceOf(shares.AddressOf(r)) }

// requestID returns the caller's ID or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(shoal.RequestIDHeader); id != "" && len(id) <= 128 {
		return id
	}
	return shoal.NewRequestID()
}
