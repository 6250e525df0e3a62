// Command base installs the base template's packages before shoal's first start, for
// example while shoal is being compiled. Without it, shoal's first start does the same and
// takes longer.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"shoal/internal/config"
	"shoal/internal/descriptors"
	"shoal/internal/image"
)

func main() {
	var c struct {
		config.Config
	}
	kong.Parse(&c, kong.Name("base"), kong.DefaultEnvars(config.EnvPrefix),
		kong.Configuration(config.LoadFile, config.DefaultFile))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &c.Config); err != nil {
		fmt.Fprintln(os.Stderr, "base:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg *config.Config) error {
	if err := descriptors.KeepInherited(); err != nil {
		return err
	}
	store, err := image.Open(cfg.BaseImages())
	if err != nil {
		return err
	}
	return image.NewBuilder(store, slog.Default()).EnsurePackages(ctx, image.PrintProgress(os.Stdout))
}
