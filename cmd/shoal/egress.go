package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"shoal/internal/config"
	"shoal/internal/egress"
	"shoal/internal/fills"
	"shoal/internal/machine"
	"shoal/internal/network"
	"shoal/internal/telemetry/logging"
)

// egressCmd is how this program is the egress process of a machine, which starts it.
type egressCmd struct{}

// Run relays connections of sandboxes whose rules are about names. It says "ready" to whoever has
// started it, who may end sooner than it does.
func (egressCmd) Run(ctx context.Context, cfg *config.Config) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	resolvers, err := cfg.Resolvers()
	if err != nil {
		return err
	}
	levels, err := logging.Parse(cfg.LogLevel)
	if err != nil {
		return err
	}
	out, err := egress.OpenLog(cfg.RunDir)
	if err != nil {
		return err
	}
	defer out.Close()
	log := slog.New(levels.Handler(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	listener, err := network.ListenService()
	if err != nil {
		return err
	}
	defer listener.Close()
	hosts, links, internal := cfg.Prefixes()
	server, err := egress.NewServer(egress.Config{RunDir: cfg.RunDir, Build: machine.EgressBuild(version), Hosts: hosts,
		Links: links, AllowInternal: internal, Resolvers: resolvers, TrustCA: cfg.TrustCA},
		listener, fills.NewClient(fills.Socket(cfg.RunDir)), log)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if err := detach(out.File()); err != nil {
		return err
	}
	return server.Run(ctx)
}

// detach leaves the files that were another process's. A panic is written to the log.
func detach(log *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd, file := range []*os.File{null, null, log} {
		if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return nil
}
