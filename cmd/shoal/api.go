package main

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/endpoint"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/shoal"
)

type apiCmd struct{}

// Run serves the REST API for the orchestrators in --nodes.
func (apiCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := openConsole(cfg)
	listeners, err := endpoint.Listen(slices.Concat([]string{cfg.APIListen}, cfg.DomainAddresses(),
		cfg.MetricsAddresses())...)
	if err != nil {
		return err
	}
	defer listeners.Close()
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	public, err := openDomain(cfg, nil, log)
	if err != nil {
		return err
	}
	nodes, err := rpc.NewClients(cfg.Nodes, secrets.NodeSecret)
	if err != nil {
		return err
	}
	plane, err := controlplane.Open(ctx, cfg, secrets, nodes, build.NoEngine{}, log)
	if err != nil {
		return err
	}
	defer plane.Close()
	measured, err := metricsOf(log, listeners[1+len(cfg.DomainAddresses()):], plane.Meters())
	if err != nil {
		return err
	}
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return plane.Run(running) })
	g.Go(func() error { return public.run(running) })
	g.Go(func() error {
		domain := public.endpoints(listeners[1:1+len(cfg.DomainAddresses())], plane.Server(), nil)
		return endpoint.Serve(running, log, append(append(domain, measured...),
			endpoint.Endpoint{Name: "api", Listeners: listeners[:1], Public: true, Server: plane.Server()})...)
	})
	fmt.Fprintf(console, "api ready on %s\n", cfg.APIListen)
	if plane.Key() != "" {
		fmt.Fprintf(console, "  export E2B_API_KEY=%s\n", plane.Key())
	}
	fmt.Fprint(console, firstPerson(cfg, plane.Link()))
	return asked(ctx, g.Wait())
}
