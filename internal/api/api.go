// Package api is the REST control plane: what spec/openapi.yml describes, with
// the answers that E2B clients expect. A request passes, in this order: request
// ID and log (middleware.go), audit (audit.go), route (router.go), authentication and the team's
// standing (authorize.go), the schema (validate.go), and its handler, which lives
// in the file of its resource.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"golang.org/x/sync/errgroup"

	"shoal/internal/api/gen"
	"shoal/internal/archive"
	"shoal/internal/audit"
	"shoal/internal/auth"
	"shoal/internal/build"
	"shoal/internal/fleet"
	"shoal/internal/history"
	"shoal/internal/identity"
	"shoal/internal/shares"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/telemetry"
)

// specification is spec/openapi.yml. It is parsed once, which takes a while, and never changed.
var specification = sync.OnceValues(func() (*openapi3.T, error) {
	spec, err := gen.GetSpec()
	if err != nil {
		return nil, fmt.Errorf("read the API's specification: %w", err)
	}
	return spec, nil
})

// ReadSpecification reads what New needs, before it is needed.
func ReadSpecification() error {
	_, err := specification()
	return err
}

// Config is what the control plane stands on.
type Config struct {
	Store  *store.Store
	Fleet  *fleet.Fleet
	Auth   *auth.Authenticator
	Trail  *audit.Trail
	Tokens auth.Tokens
	// CheckPolicy refuses an egress policy that no machine could apply. Its
	// errors are shown to clients.
	CheckPolicy func(shoal.Network) error
	// CheckProxy returns ErrOutboundRefused for the address, HOST:PORT, of an egress proxy that is
	// internal; nil refuses none.
	CheckProxy func(ctx context.Context, address string) error
	// CheckTarget refuses an address that no event may be sent to; nil refuses none. Its errors
	// are shown to clients.
	CheckTarget func(*url.URL) error
	// Deliveries is called when there is something to be sent to a webhook; may be nil.
	Deliveries func()
	// Domain is the public domain of sandboxes, "host" or "host:port". If it is
	// empty, clients use the domain of their own configuration.
	Domain string
	Builds Builds
	// PublicURL is where clients reach the API, without a path at its end; upload
	// links start with it. If it is empty, each request's own host is taken.
	PublicURL string
	// UploadLimit is the most that one upload may have, in bytes.
	UploadLimit int64
	// Shipped says what is to be done about a template that comes with Shoal and is
	// not built yet; nil is a name that does not. It may begin the build. Without it,
	// no template comes with Shoal.
	Shipped func(ctx context.Context, name string) error
	// Operator is the ID of the team that owns the installation's templates. It alone gets
	// the Reserved names without a namespace.
	Operator string
	Reserved []string
	// Defaults says in a line each what the templates that come with the installation are
	// for, built or not, by their names without a namespace.
	Defaults map[string]string
	// Origins says which web pages may call.
	Origins Origins
	// Name tells this API from others that share the store. It is the same after a restart.
	Name string
	// IdentityURL and TrustDomain name the installation in the tokens of its sandboxes' identities.
	IdentityURL, TrustDomain string
	// NoNewAccessTokens refuses the making of further access tokens of users.
	NoNewAccessTokens bool
	// Limiter holds teams and users to their rates; nil is this process's memory.
	Limiter Limiter
	// LogLevels is called when somebody has changed what this process logs, to have others log the same;
	// may be nil.
	LogLevels func(ctx context.Context, levels string)
	// Archive has of the past what machines and the store have no more; nil is none.
	Archive *archive.Archive
	Volumes Volumes
}

// Builds is what template builds stand on.
type Builds struct {
	Queue *build.Queue
	Logs  *build.Logs
	Files *build.Files
}

// Server answers the routes. Run must be running for sandboxes to be counted.
type Server struct {
	store       *store.Store
	fleet       *fleet.Fleet
	history     *history.History
	auth        *auth.Authenticator
	trail       *audit.Trail
	tokens      auth.Tokens
	checkPolicy func(shoal.Network) error
	checkProxy  func(context.Context, string) error
	checkTarget func(*url.URL) error
	deliveries  func()
	domain      string
	builds      Builds
	volumes     Volumes
	publicURL   string
	uploadLimit int64
	shipped     func(ctx context.Context, name string) error
	reserved    []string
	defaults    map[string]string
	log         *slog.Logger
	handler     http.Handler
	spawns      *spawns
	storage     *storage
	origins     Origins
	operator    string
	name        string
	people      *auth.People
	identity    *identity.Issuer
	keys        *auth.Keys
	noNewTokens bool
	rates       rates
	logLevels   func(ctx context.Context, levels string)
	creating    shares.Turns  // by team and idempotency key
	resumeWait  time.Duration // see resumeWait; tests shorten both
	requestTime time.Duration // see requestTime
	draining    atomic.Bool
	pages       *http.ServeMux // nil if there are none
	meters      *meters
}

var _ gen.StrictServerInterface = (*Server)(nil)

// New returns a control plane.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	if cfg.CheckPolicy == nil || cfg.Trail == nil {
		return nil, errors.New("the api needs a way to check egress policies, and an audit log")
	}
	if cfg.Builds.Queue == nil || cfg.Builds.Logs == nil || cfg.Builds.Files == nil || cfg.UploadLimit <= 0 {
		return nil, errors.New("the api needs a queue, logs, files and an upload limit for template builds")
	}
	if len(cfg.Volumes.Backends) == 0 || cfg.Volumes.Tokens == nil {
		return nil, errors.New("the api needs a place for volumes, and a key for their tokens")
	}
	s := &Server{
		builds:      cfg.Builds,
		volumes:     cfg.Volumes,
		publicURL:   strings.TrimSuffix(cfg.PublicURL, "/"),
		uploadLimit: cfg.UploadLimit,
		store:       cfg.Store,
		fleet:       cfg.Fleet,
		history:     history.New(cfg.Fleet, cfg.Store, cfg.Archive, log),
		auth:        cfg.Auth,
		trail:       cfg.Trail,
		tokens:      cfg.Tokens,
		checkPolicy: cfg.CheckPolicy, checkProxy: cfg.CheckProxy,
		checkTarget: cfg.CheckTarget,
		deliveries:  cfg.Deliveries,
		domain:      cfg.Domain,
		shipped:     cfg.Shipped,
		reserved:    cfg.Reserved,
		defaults:    cfg.Defaults,
		log:         log,
		origins:     cfg.Origins,
		operator:    cfg.Operator,
		name:        cfg.Name,
		people:      auth.NewPeople(cfg.Store),
		identity:    identity.New(cfg.Store, cfg.IdentityURL, cfg.TrustDomain),
		keys:        auth.NewKeys(cfg.Store),
		noNewTokens: cfg.NoNewAccessTokens,
		rates:       newRates(cfg.Limiter),
		logLevels:   cfg.LogLevels,
		spawns:      newSpawns(),
		storage:     newStorage(cfg.Store, cfg.Fleet, cfg.Builds.Files),
		meters:      newMeters(),
		resumeWait:  resumeWait,
		requestTime: requestTime,
	}
	spec, err := specification()
	if err != nil {
		return nil, err
	}
	routes := newRouter(spec, s.guard)
	strict := gen.NewStrictHandlerWithOptions(s, nil, gen.StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  writeRequestError,
		ResponseErrorHandlerFunc: writeError,
	})
	gen.HandlerWithOptions(strict, gen.StdHTTPServerOptions{BaseRouter: routes,
		ErrorHandlerFunc: writeRequestError})
	s.refuseUnserved(routes)
	if err := routes.err; err != nil {
		return nil, err
	}
	s.handler = s.observe(s.withPages(s.withCORS(s.withVolumeContent(s.withUploads(s.withBounds(refuseDeprecated(routes)))))))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Run does the background work until ctx ends; then health checks fail.
func (s *Server) Run(ctx context.Context) error {
	defer s.draining.Store(true)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.spawns.run(ctx, s.store, s.log) })
	g.Go(func() error { return s.fleet.ServeWakes(ctx, s.wake) })
	g.Go(func() error { return s.fleet.ServeFills(ctx, s.fill) })
	return g.Wait()
}

// guard lets an operation be reached only by those who may call it, with a
// request that has its shape.
func (s *Server) guard(op operation, next http.HandlerFunc) http.HandlerFunc {
	return withholding(op.route, func(w http.ResponseWriter, r *http.Request) {
		telemetry.Current(r.Context()).Set(telemetry.Sandbox, r.PathValue("sandboxID"))
		callOf(r.Context()).begin(op, r)
		authorized := telemetry.Begin(r.Context(), "authorize")
		r, err := s.authorize(r, op.access)
		authorized()
		if err == nil {
			err = op.bounded(w, r)
		}
		if err == nil {
			err = op.misshapen(op.validate(r))
		}
		if err != nil {
			writeError(w, r, err)
			return
		}
		callOf(r.Context()).began = true
		next(w, withClient(r))
	})
}
