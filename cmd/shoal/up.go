package main

import (
	"context"
	"fmt"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/endpoint"
	"shoal/internal/image"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

type upCmd struct {
	Ephemeral bool `help:"End every sandbox on exit, and remove what Shoal has put on the host."`
}

// Run runs the orchestrator, the api and the proxy in one process.
func (u *upCmd) Run(ctx context.Context, cfg *config.Config) error {
	w, err := openWatch(ctx, cfg, "up")
	if err != nil {
		return err
	}
	defer w.Close()
	console, log := w.console, w.log
	start := time.Now()
	listeners, err := endpoint.Listen(append([]string{cfg.APIListen, cfg.ProxyListen, cfg.HealthListen, cfg.NodeListen},
		cfg.DomainAddresses()...)...)
	if err != nil {
		return err
	}
	defer listeners.Close()
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	var router proxy.Resolver
	public, err := openDomain(cfg, knownTo(func() proxy.Resolver { return router }), log)
	if err != nil {
		return err
	}
	var front *proxy.Handler
	m, err := openMachine(cfg, log, func(executionID string) { front.Forget(executionID) })
	if err != nil {
		return err
	}
	defer m.Close()
	orch := m.Orchestrator()
	router = orch.Router()
	front = proxy.New(router, log)
	prepared := controlplane.Prepare(ctx, cfg)
	defer prepared.Close()
	base, err := m.Start(ctx, image.PrintProgress(console))
	if err != nil {
		return err
	}
	plane, err := controlplane.Open(ctx, prepared, cfg, secrets, []shoal.Node{orch}, m.Engine(), log)
	if err != nil {
		return err
	}
	defer plane.Close()
	if err := plane.OfferBase(ctx, base); err != nil {
		return err
	}
	metrics, err := w.registry(m.Meters(), plane.Meters(), front.Meters())
	if err != nil {
		return err
	}
	api, entrance := w.outside("api", plane.Server()), w.outside("proxy", proxy.NewServer(front))
	g, running := errgroup.WithContext(ctx)
	w.run(running, g, metrics)
	g.Go(func() error { return m.Run(running) })
	g.Go(func() error { return plane.Run(running) })
	g.Go(func() error { return public.run(running) })
	g.Go(func() error {
		return endpoint.Serve(running, log, slices.Concat(w.operator, public.endpoints(listeners[4:], api, entrance), []endpoint.Endpoint{
			{Name: "api", Listeners: listeners[:1], Public: true, Server: api},
			{Name: "proxy", Listeners: listeners[1:2], Public: true, Server: entrance},
			{Name: "health", Listeners: listeners[2:3], Public: true,
				Server: endpoint.NewHealthServer(endpoint.NewMetrics(metrics, log), endpoint.Health{
					"api": plane.Ready, "orchestrator": rpc.Ready(orch), "proxy": endpoint.Always})},
			{Name: "rpc", Listeners: listeners[3:4], Server: w.inside("node",
				rpc.NewServer(rpc.NewHandler(orch, secrets.NodeSecret, orch.HealthHandler())))},
		})...)
	})
	fmt.Fprint(console, welcome(cfg, public, plane.Key(), time.Since(start)), firstPerson(cfg, plane.Link()))
	debug.FreeOSMemory() // that of the start: of migrations, and of the specification as it was read
	spare := make([]byte, headroom)
	err = asked(ctx, g.Wait())
	goruntime.KeepAlive(spare)
	if u.Ephemeral {
		return m.Teardown(context.WithoutCancel(ctx))
	}
	if n := m.Running(); n > 0 {
		fmt.Fprintf(console, "\n%d sandbox(es) go on; `shoal up` takes them over again, `shoal down` ends them.\n", n)
	}
	return err
}

// headroom is how many bytes are held and never touched, so that they take no memory. Go collects
// garbage when the heap has doubled; that of a machine with few sandboxes is a few megabytes, and
// would be collected with every other create.
const headroom = 16 << 20

// welcome returns the message that Shoal is ready, with the variables to export.
func welcome(cfg *config.Config, public *domain, key string, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nShoal %s is ready (%.1f s). In another terminal:\n\n", version, took.Seconds())
	if greeting := public.greeting(); greeting != "" {
		b.WriteString(greeting)
	} else {
		fmt.Fprintf(&b, "  export E2B_API_URL=http://%s\n", config.Reachable(cfg.APIListen))
		fmt.Fprintf(&b, "  export E2B_SANDBOX_URL=http://%s\n", config.Reachable(cfg.ProxyListen))
	}
	if key == "" {
		fmt.Fprintf(&b, "  export E2B_API_KEY=…            # yours, or a new one by `shoal key create`\n\n")
	} else {
		fmt.Fprintf(&b, "  export E2B_API_KEY=%s\n\n", key)
	}
	return b.String()
}
