package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

const (
	requestTime = 70 * time.Second // for one request (api.md §1.1)
	// traceHeader is what SDKs print with errors when they run in CI (clients.md D18).
	traceHeader = "X-E2B-Trace-ID"
)

// call is what the log says about a request. Only the request's goroutine uses it.
type call struct {
	start       time.Time
	route, team string
	user        string
	operator    bool        // whoever calls runs the installation
	limited     bool        // it is held to rates
	began       bool        // its handler did, and may have changed something
	header      http.Header // of the answer
	err         error
	audited     // what the audit log says of it besides
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{start: time.Now(), header: http.Header{}}
}

// foreignID is what a request ID from outside may look like; it goes into logs
// and headers.
var foreignID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe gives each request its ID, turns a panic into an answer and writes one
// line of log.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get(shoal.RequestIDHeader)
		if !foreignID.MatchString(id) {
			id = shoal.NewRequestID()
		}
		w.Header().Set(shoal.RequestIDHeader, id)
		w.Header().Set(traceHeader, id)
		c := &call{start: start, header: w.Header()}
		r = r.WithContext(context.WithValue(shoal.WithRequestID(r.Context(), id), callKey{}, c))
		rec := &recorder{ResponseWriter: w}
		defer func() { s.audit(r, c, rec.status) }() // after the answer, also of a panic
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				err := fmt.Errorf("panic: %v", p)
				writeError(rec, r, shoal.ErrInternal.Wrap(err, "Internal server error"))
				s.log.Error("handler panicked", "request", id, "panic", p, "stack", string(debug.Stack()))
			}
			took := time.Since(start)
			s.meters.count(c, rec.status, took)
			describe(r.Context(), c, rec.status)
			s.logCall(r, c, rec.status, took)
		}()
		next.ServeHTTP(rec, r)
	})
}

// describe says in the trace, if the request is in one, what the log says.
func describe(ctx context.Context, c *call, status int) {
	span := telemetry.Current(ctx)
	if !span.Recorded() {
		return
	}
	if c.route != "" { // one of the specification's
		span.Rename(c.route)
		span.Set(telemetry.Route, c.route)
	}
	span.Set(telemetry.Team, c.team)
	span.Set(telemetry.Request, shoal.RequestID(ctx))
	span.SetNumber(telemetry.Status, status)
	if status >= http.StatusInternalServerError {
		span.Fail(c.err)
	} else if c.err != nil {
		span.Set(telemetry.ErrorCode, shoal.AsError(c.err).Code)
	}
}

func (s *Server) logCall(r *http.Request, c *call, status int, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case status >= 500 && status != http.StatusNotImplemented: // what is not there is no fault
		level = slog.LevelError
	case c.route == "GET /health":
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("request", shoal.RequestID(r.Context())),
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.String("route", c.route),
		slog.String("team", c.team),
		slog.String("user", c.user),
		slog.Int("status", status),
		slog.Float64("ms", float64(took.Microseconds())/1000),
	}
	if c.err != nil {
		attrs = append(attrs, slog.String("code", shoal.AsError(c.err).Code), slog.Any("error", c.err))
	}
	s.log.LogAttrs(r.Context(), level, "api request", attrs...)
}

// recorder remembers the status of the answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// withBounds limits the size of a request's body and its time.
func (s *Server) withBounds(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			writeError(w, r, errTooLarge(maxBody))
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.requestTime)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// The headers of cross-origin requests (api.md §1.2, clients.md D25).
var (
	corsMethods = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
	corsRequest = strings.Join([]string{"Origin", "Content-Length", "Content-Type", "User-Agent",
		"Authorization", "X-API-Key", "X-Team-ID", "X-Admin-Token", "X-Request-Id", "Idempotency-Key",
		"lang", "lang_version", "package_version", "publisher", "sdk_runtime", "system", "browser",
		"machine", "os", "processor", "release"}, ", ")
	corsExposed = strings.Join([]string{"X-Next-Token", "X-Total-Running", "RateLimit-Limit",
		"RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "Should-Retry", traceHeader,
		shoal.RequestIDHeader}, ", ")
)

// withCORS answers web pages of allowed origins only. Libraries for CORS name only the
// requested method in a preflight's answer, and refuse nothing.
func (s *Server) withCORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		allow, err := s.origins.check(r)
		if allow != AnyOrigin {
			h.Set("Vary", "Origin")
		}
		if err != nil {
			writeError(w, r, err)
			return
		}
		if allow != "" {
			h.Set("Access-Control-Allow-Origin", allow)
		}
		h.Set("Access-Control-Expose-Headers", corsExposed)
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsRequest)
			h.Set("Access-Control-Max-Age", "43200")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}
