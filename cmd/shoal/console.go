package main

import (
	"context"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"shoal/internal/config"
)

// openConsole returns the console for messages to the user, and the log. Both write to
// copies of the standard descriptors, because the runtime replaces the originals.
func openConsole(cfg *config.Config) (*os.File, *slog.Logger) {
	return os.NewFile(uintptr(copyDescriptor(os.Stdout)), "console"), newLogger(cfg)
}

// asked drops the errors of a shutdown that the user requested.
func asked(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// newLogger returns a logger that writes to a copy of standard error, because the runtime
// replaces the original.
func newLogger(cfg *config.Config) *slog.Logger {
	out := os.NewFile(uintptr(copyDescriptor(os.Stderr)), "log")
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // the flag accepts only valid names
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

// copyDescriptor returns a copy of an open file's descriptor. The copy stays open when the
// runtime replaces the original.
func copyDescriptor(f *os.File) int {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return int(f.Fd())
	}
	return fd
}
