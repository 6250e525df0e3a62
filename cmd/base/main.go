// Command base installs the base template's packages before shoal's first start, for
// example while shoal is being compiled. Without it, shoal's first start does the same and
// takes longer. With --envd it makes the image too, for a machine that reaches no package
// sources and has no certificate authorities of its own.
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
		Envd string `placeholder:"FILE" help:"The guest daemon's program, to make the image with it as well."`
	}
	kong.Parse(&c, kong.Name("base"), kong.DefaultEnvars(config.EnvPrefix),
		kong.Configuration(config.LoadFile, config.DefaultFile))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &c.Config, c.Envd); err != nil {
		fmt.Fprintln(os.Stderr, "base:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg *config.Config, envd string) error {
	if err := descriptors.KeepInherited(); err != nil {
		return err
	}
	store, err := image.Open(cfg.BaseImages())
	if err != nil {
		return err
	}
	builder, progress := image.NewBuilder(store, slog.Default()), image.PrintProgress(os.Stdout)
	if envd == "" {
		return builder.EnsurePackages(ctx, progress)
	}
	program, err := os.ReadFile(envd)
	if err != nil {
		return err
	}
	made, err := builder.EnsureBase(ctx, image.Options{Envd: program, CAFiles: cfg.TrustCA, Progress: progress})
	if err == nil {
		fmt.Println(made.Digest)
	}
	return err
}
