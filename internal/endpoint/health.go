package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	grpc "connectrpc.com/connect"
	"connectrpc.com/grpchealth"
)

const (
	metricsPath = "GET /metrics"
	headTime    = 5 * time.Second
	// readyTime bounds how long a role may take to say whether it is ready.
	readyTime = 2 * time.Second
	// maxProbe bounds a question by gRPC, in bytes.
	maxProbe = 4 << 10
)

// Health says by the name of each role of a process whether it can do its work now. The errors are
// for the operator's log, and are told to nobody who asks.
type Health map[string]func(context.Context) error

// Without is returned by a role that can do its work, but lacks a server that it can do without.
type Without string

func (w Without) Error() string { return "without " + string(w) }

// lacking tells what a role that is ready lacks; ok is that it is ready.
func lacking(err error) (lack string, ok bool) {
	if w := Without(""); errors.As(err, &w) {
		return " " + w.Error(), true
	}
	return "", err == nil
}

// Always is a role that is ready as soon as it is served.
func Always(context.Context) error { return nil }

// servicePrefix begins the roles' names for gRPC.
const servicePrefix = "shoal."

var _ grpchealth.Checker = Health(nil)

// Check answers gRPC's health protocol for a role, as shoal.api, or for all of the process.
func (h Health) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for role, ready := range h {
		if req.Service == servicePrefix+role {
			return status(ready(ctx)), nil
		}
	}
	if req.Service != "" {
		return nil, grpc.NewError(grpc.CodeNotFound, errors.New("no such role here"))
	}
	for _, ready := range h {
		if s := status(ready(ctx)); s.Status != grpchealth.StatusServing {
			return s, nil
		}
	}
	return status(nil), nil
}

func status(err error) *grpchealth.CheckResponse {
	if _, ok := lacking(err); !ok {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}
}

// ServeHTTP answers whether all roles are ready, with a line for each.
func (h Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	code, text := http.StatusOK, ""
	for _, role := range slices.Sorted(maps.Keys(h)) {
		lack, ok := lacking(h[role](ctx))
		if !ok {
			code = http.StatusServiceUnavailable
			text += role + " not ready\n"
			continue
		}
		text += role + " ready" + lack + "\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	fmt.Fprint(w, text)
}

// NewHealthServer returns the proxy's health check, which answers every GET with "healthy"
// (runtime.md §1.9), but for those of NewMetricsServer.
func NewHealthServer(metrics http.Handler, health Health) *http.Server {
	mux := health.mux(metrics)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "healthy") })
	return newProbed(mux)
}

// NewMetricsServer serves a process's metrics, and whether it lives and is ready, by HTTP and by
// gRPC's health protocol.
func NewMetricsServer(metrics http.Handler, health Health) *http.Server {
	return newProbed(health.mux(metrics))
}

func (h Health) mux(metrics http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle(metricsPath, metrics)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.Handle("GET /readyz", h)
	path, service := grpchealth.NewHandler(h, grpc.WithReadMaxBytes(maxProbe))
	mux.Handle("POST "+path, service)
	return mux
}

// newProbed speaks HTTP/2 without TLS too, which gRPC needs.
func newProbed(h http.Handler) *http.Server {
	s := &http.Server{Handler: h, ReadHeaderTimeout: headTime, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
