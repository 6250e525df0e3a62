package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sync/errgroup"

	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/fleet"
	"shoal/internal/image"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// The roles apart: the same parts as `up`, joined by RPC.

type orchestratorCmd struct{}

// Run serves this machine's sandboxes to the api and the proxy.
func (orchestratorCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := os.NewFile(uintptr(copyDescriptor(os.Stdout)), "console"), newLogger(cfg)
	listeners, err := listenAll(cfg.NodeListen, cfg.NodeProxyListen)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	var inner *proxy.Handler
	m, err := openMachine(cfg, log, func(executionID string) { inner.Forget(executionID) })
	if err != nil {
		return err
	}
	defer m.close()
	inner = proxy.New(m.orch.Router(), log)
	if err := m.orch.Recover(ctx); err != nil {
		return err
	}
	base, err := m.base(ctx, image.PrintProgress(console))
	if err != nil {
		return err
	}
	if _, err := m.openEngine(base); err != nil { // for what its cache holds
		return err
	}
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return m.run(running) })
	g.Go(func() error {
		return serve(running, log,
			endpoint{"rpc", listeners[0], rpc.NewServer(rpc.NewHandler(m.orch, secrets.NodeSecret, m.orch.HealthHandler()))},
			endpoint{"node proxy", listeners[1], proxy.NewServer(inner)})
	})
	fmt.Fprintf(console, "orchestrator ready: RPC on %s, sandbox traffic on %s\n", cfg.NodeListen, cfg.NodeProxyListen)
	return asked(ctx, g.Wait())
}

type apiCmd struct{}

// Run serves the REST API for the orchestrators in --nodes.
func (apiCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := os.NewFile(uintptr(copyDescriptor(os.Stdout)), "console"), newLogger(cfg)
	listeners, err := listenAll(cfg.APIListen)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	nodes, err := remoteNodes(cfg, secrets)
	if err != nil {
		return err
	}
	plane, err := openControlPlane(ctx, cfg, secrets, nodes, build.NoEngine{}, log)
	if err != nil {
		return err
	}
	defer plane.close()
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return plane.run(running) })
	g.Go(func() error { return serve(running, log, endpoint{"api", listeners[0], plane.server()}) })
	fmt.Fprintf(console, "api ready on %s\n", cfg.APIListen)
	if plane.key != "" {
		fmt.Fprintf(console, "  export E2B_API_KEY=%s\n", plane.key)
	}
	return asked(ctx, g.Wait())
}

type proxyCmd struct{}

// Run carries traffic to the machines in --nodes.
func (proxyCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := os.NewFile(uintptr(copyDescriptor(os.Stdout)), "console"), newLogger(cfg)
	listeners, err := listenAll(cfg.ProxyListen, cfg.HealthListen)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	nodes, err := remoteNodes(cfg, secrets)
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
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return machines.Run(running) })
	g.Go(func() error {
		return serve(running, log,
			endpoint{"proxy", listeners[0], proxy.NewServer(proxy.New(router, log))},
			endpoint{"health", listeners[1], healthServer()})
	})
	fmt.Fprintf(console, "proxy ready on %s\n", cfg.ProxyListen)
	return asked(ctx, g.Wait())
}

func remoteNodes(cfg *config.Config, secrets config.Secrets) ([]shoal.Node, error) {
	if len(cfg.Nodes) == 0 {
		return nil, errors.New("--nodes must name at least one orchestrator, as HOST:PORT")
	}
	var nodes []shoal.Node
	for _, address := range cfg.Nodes {
		c, err := rpc.NewClient(address, secrets.NodeSecret)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, c)
	}
	return nodes, nil
}

// asked drops the errors of a shutdown that was asked for.
func asked(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
