package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/api"
	"shoal/internal/auth"
	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/fleet"
	"shoal/internal/network"
	"shoal/internal/shipped"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// controlPlane is the api and what it stands on.
type controlPlane struct {
	store    *store.Store
	auth     *auth.Authenticator
	fleet    *fleet.Fleet
	api      *api.Server
	queue    *build.Queue
	first    *shipped.FirstUse // nil where nothing is built on first use
	untagged time.Duration     // how long builds without a tag stay; 0 is for ever
	team     string            // owner of the shipped templates
	key      string            // to print; "" if the operator has one
	log      *slog.Logger
}

// domain is the public domain of sandboxes. In development it is the proxy's own
// address: names below localhost lead to this machine.
func domain(cfg *config.Config) string {
	if cfg.Domain == "" && cfg.Dev {
		return reachable(cfg.ProxyListen)
	}
	return cfg.Domain
}

// openControlPlane opens the store, makes the first key, and meets the machines.
func openControlPlane(ctx context.Context, cfg *config.Config, secrets config.Secrets, nodes []shoal.Node, engine build.Engine, log *slog.Logger) (*controlPlane, error) {
	st, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p := &controlPlane{store: st}
	if err := p.firstKey(ctx, cfg); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	admin := cfg.AdminToken
	if admin == "" && cfg.Dev {
		admin = shoal.DevAdminToken
	}
	p.auth = auth.New(st, admin, log)
	p.fleet = fleet.New(fleet.Config{Nodes: nodes, OnBuild: func(ctx context.Context, b shoal.Build) error {
		if b.TemplateID != shoal.BaseTemplateID {
			return nil // made at the api's request, which registered it
		}
		return st.UpsertBase(ctx, b, p.team)
	}}, log)
	if err := p.fleet.Sync(ctx); err != nil {
		log.Warn("not every orchestrator is connected yet", "error", err)
	}
	p.log, p.untagged = log, cfg.UntaggedTime
	builds, err := openBuilds(ctx, cfg, st, engine, log)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	p.queue = builds.Queue
	p.api, err = api.New(api.Config{Store: st, Auth: p.auth, Fleet: p.fleet, Tokens: auth.NewTokens(secrets.TokenSeed), Domain: domain(cfg),
		Builds: builds, Shipped: p.askShipped, PublicURL: cfg.PublicAPI, UploadLimit: cfg.UploadLimit << 20,
		CheckPolicy: func(n shoal.Network) error {
			_, err := network.ParsePolicy(n)
			return err
		}}, log)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return p, p.offerShipped(ctx, cfg, engine)
}

func openStore(ctx context.Context, cfg *config.Config) (*store.Store, error) {
	location := cfg.Database
	if location == "" {
		if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
			return nil, fmt.Errorf("make the data directory: %w", err)
		}
		location = filepath.Join(cfg.DataDir, "shoal.db")
	}
	return store.Open(ctx, location)
}

// firstKey makes sure that somebody can call the api: the fixed development
// identity, or one random key that is shown once.
func (p *controlPlane) firstKey(ctx context.Context, cfg *config.Config) (err error) {
	keys := auth.NewKeys(p.store)
	if cfg.Dev {
		p.team, p.key = shoal.DevTeamID, shoal.DevAPIKey
		return keys.EnsureDev(ctx)
	}
	if p.key, err = keys.EnsureFirst(ctx); err != nil {
		return err
	}
	teams, err := p.store.Teams(ctx)
	if err != nil {
		return err
	}
	if len(teams) == 0 {
		return errors.New("the database has no team")
	}
	p.team = teams[0].ID
	return nil
}

func (p *controlPlane) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.auth.Run(ctx) })
	g.Go(func() error { return p.fleet.Run(ctx) })
	g.Go(func() error { return p.api.Run(ctx) })
	g.Go(func() error { return p.collectAlways(ctx) })
	g.Go(func() error { return p.queue.Run(ctx) })
	if p.first != nil {
		g.Go(func() error { return p.first.Run(ctx) })
	}
	return g.Wait()
}

func (p *controlPlane) server() *http.Server { return api.NewHTTPServer(p.api, p.log) }

func (p *controlPlane) close() { p.store.Close() }

// healthServer answers for the proxy (runtime.md §1.9).
func healthServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "healthy") })
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
}
