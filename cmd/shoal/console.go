package main

import (
	"context"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"shoal/internal/config"
	"shoal/internal/telemetry/logging"
)

// openConsole returns the console for messages to the user, and the log. Both write to
// copies of the standard descriptors, because the runtime replaces the originals.
func openConsole(cfg *config.Config) (*os.File, *slog.Logger) {
	levels, _ := logging.Parse(cfg.LogLevel) // main has checked it
	return openOutput(), slog.New(levels.Handler(newLogHandler(cfg)))
}

func openOutput() *os.File { return os.NewFile(uintptr(copyDescriptor(os.Stdout)), "console") }

// asked drops the errors of a shutdown that the user requested.
func asked(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// newLogHandler writes all levels to a copy of standard error, because the runtime replaces the
// original.
func newLogHandler(cfg *config.Config) slog.Handler {
	out := os.NewFile(uintptr(copyDescriptor(os.Stderr)), "log")
	opts := &slog.HandlerOptions{Level: slog.LevelDebug}
	if cfg.LogFormat == "json" || (cfg.LogFormat == "auto" && !isTerminal(out)) {
		return slog.NewJSONHandler(out, opts)
	}
	return slog.NewTextHandler(out, opts)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// copyDescriptor returns a copy of an open file's descriptor. The copy stays open when the
// runtime replaces the original.
func copyDescriptor(f *os.File) int {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return int(f.Fd())
	}
	return fd
}
