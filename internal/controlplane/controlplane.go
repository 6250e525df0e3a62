// Package controlplane assembles the API and what it needs: the store, the fleet, the queue
// of template builds, the audit log, the retention of old builds, events and the webhooks that they go to.
package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"shoal/internal/api"
	"shoal/internal/archive"
	"shoal/internal/audit"
	"shoal/internal/auth"
	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/endpoint"
	"shoal/internal/events"
	"shoal/internal/fleet"
	"shoal/internal/live"
	"shoal/internal/network"
	"shoal/internal/outbound"
	"shoal/internal/retention"
	"shoal/internal/shipped"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/tally"
	"shoal/internal/volume"
	"shoal/internal/webhook"
	"shoal/templates"
)

// ControlPlane is the API with the parts that it needs, in one process. Call Open, Run,
// then Close.
type ControlPlane struct {
	store     *store.Store
	live      live.State
	auth      *auth.Authenticator
	trail     *audit.Trail
	fleet     *fleet.Fleet
	api       *api.Server
	queue     *build.Queue
	first     *shipped.FirstUse // nil where nothing is built on first use
	retention *retention.Retention
	events    *events.Collector
	sender    *webhook.Sender
	tally     *tally.Taker
	volumes   *volume.Remover  // of their content
	archive   *archive.Archive // nil without a ClickHouse server, as copier
	copier    *archive.Copier  // of events
	team      shoal.Team       // owner of the shipped templates
	key       string           // the first API key, to be printed; "" if there was one already
	link      string           // secret of the link that makes the first person; "" if there is somebody
	log       *slog.Logger
}

// Open takes the database that was prepared, creates the first key if needed, and connects to the
// machines.
func Open(ctx context.Context, prepared *Preparation, cfg *config.Config, secrets config.Secrets, nodes []shoal.Node,
	engine build.Engine, log *slog.Logger) (*ControlPlane, error) {
	st, err := prepared.take()
	if err != nil {
		return nil, err
	}
	p := &ControlPlane{store: st, log: log}
	if err := p.open(ctx, cfg, secrets, nodes, engine); err != nil {
		if p.live != nil {
			err = errors.Join(err, p.live.Close())
		}
		return nil, errors.Join(err, st.Close()) // nothing was served, so no audit log is to be written
	}
	return p, nil
}

func (p *ControlPlane) open(ctx context.Context, cfg *config.Config, secrets config.Secrets,
	nodes []shoal.Node, engine build.Engine) (err error) {
	if err := Unseal(cfg, p.store); err != nil {
		return err
	}
	if err := p.store.SealAll(ctx); err != nil {
		return err
	}
	if p.team, p.key, err = FirstTeam(ctx, p.store, cfg); err != nil {
		return err
	}
	if err := reclaimNames(ctx, p.store, p.log); err != nil {
		return err
	}
	if err := p.openLive(ctx, cfg); err != nil {
		return err
	}
	if p.auth, err = p.openAuth(cfg); err != nil {
		return err
	}
	p.trail = audit.New(p.store.AddAudit, p.log)
	p.fleet = fleet.New(fleet.Config{Nodes: nodes, Places: p.places(cfg), Catalogue: p.live, OnBuild: func(ctx context.Context, b shoal.Build) error {
		if b.TemplateID == shoal.BaseTemplateID { // the API has registered all others, and requested them
			if err := p.OfferBase(ctx, b); err != nil {
				return err
			}
		}
		return p.store.MeasureBuild(ctx, b)
	}}, p.log)
	if err := p.fleet.Sync(ctx); err != nil {
		p.log.Warn("some orchestrators are not connected yet", "error", err)
	}
	p.tally = tally.NewTaker(p.store, p.fleet, p.log)
	p.retention = retention.New(p.store, p.fleet, cfg.UntaggedTime,
		time.Duration(cfg.AuditDays)*24*time.Hour, p.log)
	if p.sender, err = openSender(cfg, p.store, p.log); err != nil {
		return err
	}
	p.sender.Off = func(ctx context.Context, teamID string) (bool, error) {
		off, err := p.auth.Off(ctx, teamID)
		return off.Has(shoal.SwitchWebhooks), err
	}
	p.events = events.New(p.store, p.fleet, p.sender.News)
	if err := p.openArchive(cfg); err != nil {
		return err
	}
	name, err := processName(cfg)
	if err != nil {
		return err
	}
	builds, err := openBuilds(ctx, cfg, name, p.store, engine, p.log)
	if err != nil {
		return err
	}
	p.queue = builds.Queue
	volumes, err := p.openVolumes(cfg, secrets.TokenSeed)
	if err != nil {
		return err
	}
	p.api, err = api.New(api.Config{Store: p.store, Auth: p.auth, Trail: p.trail, Fleet: p.fleet,
		Tokens: auth.NewTokens(secrets.TokenSeed), Domain: cfg.SandboxDomain(),
		Builds: builds, Shipped: p.askShipped, PublicURL: cfg.PublicAPI, UploadLimit: cfg.UploadLimit << 20,
		Origins: origins(cfg), Operator: p.team.ID, Reserved: templates.Reserved(),
		Defaults: templates.About(), Name: name, IdentityURL: cfg.APIURL(), TrustDomain: cfg.TrustDomainName(),
		NoNewAccessTokens: cfg.AccessTokens == "keep" || cfg.AccessTokens == "off",
		CheckPolicy: func(n shoal.Network) error {
			_, err := network.ParsePolicy(n)
			return err
		}, CheckProxy: checkProxy(cfg, p.log), CheckTarget: p.sender.CheckURL, Deliveries: p.sender.News, Limiter: p.live, LogLevels: p.logLevels,
		Archive: p.archive, Volumes: volumes}, p.log)
	if err != nil {
		return err
	}
	p.offerShipped(cfg, engine)
	return p.openAccounts(ctx, cfg)
}

// checkProxy returns what refuses proxies of tenants at addresses that sandboxes may not reach.
func checkProxy(cfg *config.Config, log *slog.Logger) func(context.Context, string) error {
	out := outbound.Config{Allow: cfg.AllowInternal, Log: log}
	if cfg.HostCIDR != "" { // a control plane without a machine of its own may have none
		host, veth, _ := cfg.Prefixes()
		out.Own = []netip.Prefix{host, veth}
	}
	return func(ctx context.Context, address string) error {
		d, err := outbound.NewDialer(out)
		if err != nil {
			return err
		}
		return d.Check(ctx, address)
	}
}

// origins is which web pages may call. Keys are secret but with --dev.
func origins(cfg *config.Config) api.Origins {
	o := api.Origins{Allowed: cfg.AllowedOrigins, Loopback: cfg.Dev}
	if len(o.Allowed) == 0 && !cfg.Dev {
		o.Allowed = []string{api.AnyOrigin}
	}
	return o
}

// Key returns the first API key, to be shown once, or "" if there was one already.
func (p *ControlPlane) Key() string { return p.key }

// Link returns the secret of a link by which the first person is made, to be shown once, or "" if
// there is somebody who can sign in.
func (p *ControlPlane) Link() string { return p.link }

// OfferBase makes a build the current one of the base template, unless a newer one is.
func (p *ControlPlane) OfferBase(ctx context.Context, b shoal.Build) error {
	return p.store.UpsertBase(ctx, b, p.team.ID)
}

// Server returns the API's HTTP server.
func (p *ControlPlane) Server() *http.Server { return api.NewHTTPServer(p.api, p.log) }

// Ready returns an error while the API cannot do its work: the database does not answer, no machine
// does, or it is about to end. It is endpoint.Without while only Redis or the ClickHouse server is away.
func (p *ControlPlane) Ready(ctx context.Context) error {
	if err := errors.Join(p.store.Ping(ctx), p.api.Ready()); err != nil {
		return err
	}
	var without []string
	if p.live.Degraded() != nil {
		without = append(without, "redis")
	}
	if p.archive != nil && p.archive.Err() != nil {
		without = append(without, "clickhouse")
	}
	if len(without) > 0 {
		return endpoint.Without(strings.Join(without, " and "))
	}
	return nil
}

// Meters returns what counts and measures the control plane.
func (p *ControlPlane) Meters() []prometheus.Collector {
	list := slices.Concat(p.api.Meters(), p.fleet.Meters(), p.queue.Meters(), p.live.Meters())
	if p.archive != nil {
		list = slices.Concat(list, p.archive.Meters(), p.copier.Meters())
	}
	return list
}

// Run runs the control plane until ctx ends.
func (p *ControlPlane) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.auth.Run(ctx) })
	g.Go(func() error { return p.trail.Run(ctx) })
	g.Go(func() error { return p.fleet.Run(ctx) })
	g.Go(func() error { return p.api.Run(ctx) })
	g.Go(func() error { return p.live.Run(ctx) })
	g.Go(func() error { return p.live.Lead(ctx, "retention", p.retention.Run) })
	g.Go(func() error { return p.live.Lead(ctx, "events", p.events.Run) })
	g.Go(func() error { return p.live.Lead(ctx, "tally", p.tally.Run) })
	g.Go(func() error { return p.live.Lead(ctx, "volumes", p.volumes.Run) })
	g.Go(func() error { return p.live.Lead(ctx, "switches", p.tellSwitches) })
	g.Go(func() error { return p.sender.Run(ctx) })
	g.Go(func() error { return p.queue.Run(ctx) })
	if p.archive != nil {
		g.Go(func() error { return p.archive.Run(ctx) })
		g.Go(func() error { return p.live.Lead(ctx, "archive", p.copier.Run) })
	}
	if p.first != nil {
		g.Go(func() error { return p.first.Run(ctx) })
	}
	return g.Wait()
}

// Close writes what is left of the audit log and closes the store. Nothing may be served any more.
func (p *ControlPlane) Close() error {
	return errors.Join(p.trail.Close(context.Background()), p.live.Close(), p.store.Close())
}
