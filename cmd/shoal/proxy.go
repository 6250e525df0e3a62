package main

import (
	"context"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sync/errgroup"

	"shoal/internal/config"
	"shoal/internal/endpoint"
	"shoal/internal/fleet"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

type proxyCmd struct{}

// Run forwards sandbox traffic to the machines in --nodes.
func (proxyCmd) Run(ctx context.Context, cfg *config.Config) error {
	w, err := openWatch(ctx, cfg, "proxy")
	if err != nil {
		return err
	}
	defer w.Close()
	console, log := w.console, w.log
	listeners, err := endpoint.Listen(append([]string{cfg.ProxyListen, cfg.HealthListen}, cfg.DomainAddresses()...)...)
	if err != nil {
		return err
	}
	defer listeners.Close()
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	nodes, err := rpc.NewClients(cfg.Nodes, secrets.NodeSecret)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(cfg.NodeProxyListen)
	if err != nil {
		return err
	}
	machines := fleet.New(fleet.Config{Nodes: nodes}, log)
	router, err := fleet.NewRouter(machines, cfg.Nodes, port)
	if err != nil {
		return err
	}
	public, err := openDomain(cfg, knownTo(func() proxy.Resolver { return router }), log)
	if err != nil {
		return err
	}
	front := proxy.New(router, log)
	metrics, err := w.registry(front.Meters(), machines.Meters())
	if err != nil {
		return err
	}
	served := w.outside("proxy", proxy.NewServer(front))
	g, running := errgroup.WithContext(ctx)
	w.run(running, g, metrics)
	g.Go(func() error { return machines.Run(running) })
	g.Go(func() error { return public.run(running) })
	g.Go(func() error {
		return endpoint.Serve(running, log, slices.Concat(w.operator, public.endpoints(listeners[2:], nil, served), []endpoint.Endpoint{
			{Name: "proxy", Listeners: listeners[:1], Public: true, Server: served},
			{Name: "health", Listeners: listeners[1:2], Public: true, Server: endpoint.NewHealthServer(
				endpoint.NewMetrics(metrics, log), endpoint.Health{"proxy": machines.Reach})},
		})...)
	})
	fmt.Fprintf(console, "proxy ready on %s\n", cfg.ProxyListen)
	return asked(ctx, g.Wait())
}
