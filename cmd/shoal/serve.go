package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"shoal/internal/config"
	"shoal/internal/doctor"
)

// drainTime is how long requests in flight may take after the end was asked for.
const drainTime = 10 * time.Second

// endpoint is an HTTP server with its listener.
type endpoint struct {
	name     string
	listener net.Listener
	server   *http.Server
}

// serve runs endpoints until ctx ends or one of them fails, then drains them.
func serve(ctx context.Context, log *slog.Logger, endpoints ...endpoint) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		g.Go(func() error {
			err := e.server.Serve(e.listener)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serve %s: %w", e.name, err)
		})
		g.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
			defer cancel()
			if err := e.server.Shutdown(drain); err != nil {
				log.Warn("requests were cut off", "server", e.name, "error", err)
				return e.server.Close()
			}
			return nil
		})
	}
	return g.Wait()
}

func describeListenError(addr string, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%s is in use by %s; end it or choose another address (see shoal up --help)", addr, doctor.PortHolder(addr))
	}
	return fmt.Errorf("listen on %s: %w", addr, err)
}

// newLogger writes to a copy of standard error, because the runtime gives the
// original away.
func newLogger(cfg *config.Config) *slog.Logger {
	out := os.NewFile(uintptr(copyDescriptor(os.Stderr)), "log")
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // the flag allows only good names
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" || (cfg.LogFormat == "auto" && !isTerminal(out)) {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// copyDescriptor returns a copy of an open file's descriptor, which stays when
// the runtime replaces the original.
func copyDescriptor(f *os.File) int {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return int(f.Fd())
	}
	return fd
}
