package main

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"shoal/internal/config"
	"shoal/internal/endpoint"
	"shoal/internal/image"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// The separate roles (orchestrator, api, proxy) consist of the same parts as `up`, and are
// connected by RPC.

type orchestratorCmd struct{}

// Run runs this machine's sandboxes and serves them to the api and proxy roles.
func (orchestratorCmd) Run(ctx context.Context, cfg *config.Config) error {
	w, err := openWatch(ctx, cfg, "orchestrator")
	if err != nil {
		return err
	}
	defer w.Close()
	console, log := w.console, w.log
	listeners, err := endpoint.Listen(append([]string{cfg.NodeListen, cfg.NodeProxyListen}, cfg.MetricsAddresses()...)...)
	if err != nil {
		return err
	}
	defer listeners.Close()
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	var inner *proxy.Handler
	m, err := openMachine(cfg, log, func(executionID string) { inner.Forget(executionID) })
	if err != nil {
		return err
	}
	defer m.Close()
	orch := m.Orchestrator()
	inner = proxy.New(orch.Router(), log)
	if _, err := m.Start(ctx, image.PrintProgress(console)); err != nil {
		return err
	}
	metrics, err := w.registry(m.Meters(), inner.Meters())
	if err != nil {
		return err
	}
	g, running := errgroup.WithContext(ctx)
	w.run(running, g, metrics)
	g.Go(func() error { return m.Run(running) })
	g.Go(func() error {
		return endpoint.Serve(running, log, slices.Concat(w.operator,
			w.probed(listeners[2:], metrics, endpoint.Health{"orchestrator": rpc.Ready(orch)}), []endpoint.Endpoint{
				{Name: "rpc", Listeners: listeners[:1], Server: w.inside("node",
					rpc.NewServer(rpc.NewHandler(orch, secrets.NodeSecret, orch.HealthHandler())))},
				{Name: "node proxy", Listeners: listeners[1:2], Server: w.inside("node proxy", proxy.NewServer(inner))},
			})...)
	})
	fmt.Fprintf(console, "orchestrator ready: RPC on %s, sandbox traffic on %s\n", cfg.NodeListen, cfg.NodeProxyListen)
	return asked(ctx, g.Wait())
}
