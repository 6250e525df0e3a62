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
	w, err := openWatch(ctx, cfg, "api")
	if err != nil {
		return err
	}
	defer w.Close()
	console, log := w.console, w.log
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
	plane, err := controlplane.Open(ctx, controlplane.Prepare(ctx, cfg), cfg, secrets, nodes, build.NoEngine{}, log)
	if err != nil {
		return err
	}
	defer plane.Close()
	metrics, err := w.registry(plane.Meters())
	if err != nil {
		return err
	}
	served := w.outside("api", plane.Server())
	g, running := errgroup.WithContext(ctx)
	w.run(running, g, metrics)
	g.Go(func() error { return plane.Run(running) })
	g.Go(func() error { return public.run(running) })
	g.Go(func() error {
		rest := listeners[1+len(cfg.DomainAddresses()):]
		return endpoint.Serve(running, log, slices.Concat(w.operator,
			public.endpoints(listeners[1:1+len(cfg.DomainAddresses())], served, nil),
			w.probed(rest, metrics, endpoint.Health{"api": plane.Ready}),
			[]endpoint.Endpoint{{Name: "api", Listeners: listeners[:1], Public: true, Server: served}})...)
	})
	fmt.Fprintf(console, "api ready on %s\n", cfg.APIListen)
	if plane.Key() != "" {
		fmt.Fprintf(console, "  export E2B_API_KEY=%s\n", plane.Key())
	}
	fmt.Fprint(console, firstPerson(cfg, plane.Link()))
	return asked(ctx, g.Wait())
}
