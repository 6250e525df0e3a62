package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/config"
	"shoal/internal/image"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

type upCmd struct {
	Ephemeral bool `help:"End every sandbox on exit, and remove what Shoal has put on the host."`
}

// Run is a sandbox cloud in one process: machine, api and proxy.
func (u *upCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := os.NewFile(uintptr(copyDescriptor(os.Stdout)), "console"), newLogger(cfg)
	start := time.Now()
	listeners, err := listenAll(cfg.APIListen, cfg.ProxyListen, cfg.HealthListen, cfg.NodeListen)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	var front *proxy.Handler
	m, err := openMachine(cfg, log, func(executionID string) { front.Forget(executionID) })
	if err != nil {
		return err
	}
	defer m.close()
	front = proxy.New(m.orch.Router(), log)
	if err := m.orch.Recover(ctx); err != nil {
		return err
	}
	build, err := m.base(ctx, image.PrintProgress(console))
	if err != nil {
		return err
	}
	engine, err := m.openEngine(build)
	if err != nil {
		return err
	}
	plane, err := openControlPlane(ctx, cfg, secrets, fleetOf(m.orch), engine, log)
	if err != nil {
		return err
	}
	defer plane.close()
	if err := plane.store.UpsertBase(ctx, build, plane.team); err != nil {
		return err
	}

	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return m.run(running) })
	g.Go(func() error { return plane.run(running) })
	g.Go(func() error {
		return serve(running, log,
			endpoint{"api", listeners[0], plane.server()},
			endpoint{"proxy", listeners[1], proxy.NewServer(front)},
			endpoint{"health", listeners[2], healthServer()},
			endpoint{"rpc", listeners[3], rpc.NewServer(rpc.NewHandler(m.orch, secrets.NodeSecret, m.orch.HealthHandler()))})
	})
	fmt.Fprint(console, welcome(cfg, plane.key, time.Since(start)))
	err = asked(ctx, g.Wait())
	if u.Ephemeral {
		return m.teardown(context.WithoutCancel(ctx))
	}
	if n := m.alive(); n > 0 {
		fmt.Fprintf(console, "\n%d sandbox(es) go on; `shoal up` takes them over again, `shoal down` ends them.\n", n)
	}
	return err
}

// fleetOf is the fleet of one machine in this process.
func fleetOf(node shoal.Node) []shoal.Node { return []shoal.Node{node} }

// welcome says that the product is ready, and what to export.
func welcome(cfg *config.Config, key string, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nShoal %s is ready (%.1f s). In another terminal:\n\n", version, took.Seconds())
	fmt.Fprintf(&b, "  export E2B_API_URL=http://%s\n", reachable(cfg.APIListen))
	fmt.Fprintf(&b, "  export E2B_SANDBOX_URL=http://%s\n", reachable(cfg.ProxyListen))
	if key == "" {
		fmt.Fprintf(&b, "  export E2B_API_KEY=…            # yours, or a new one by `shoal key create`\n\n")
	} else {
		fmt.Fprintf(&b, "  export E2B_API_KEY=%s\n\n", key)
	}
	return b.String()
}

// reachable turns a listen address into one to connect to.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch host {
	case "", "0.0.0.0", "::", "127.0.0.1":
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func listenAll(addrs ...string) ([]net.Listener, error) {
	var list []net.Listener
	for _, addr := range addrs {
		l, err := listen(addr)
		if err != nil {
			closeAll(list)
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		l.Close()
	}
}
