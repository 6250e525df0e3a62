// Command envd is the daemon inside a sandbox; see internal/envd.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"shoal/internal/envd"
	"shoal/internal/envd/report"
	"shoal/internal/envdapi"
)

// commit is set by the linker.
var commit = "unknown"

// A guest's memory is for its workload, so the daemon collects garbage early. The limit is
// soft: above it, the collector only runs more often.
const (
	gcPercent   = 50
	memoryLimit = 64 << 20 // bytes
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "envd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("envd", flag.ExitOnError)
	port := flags.Int("port", envdapi.Port, "TCP port to listen on, all addresses")
	version := flags.Bool("version", false, "print the version and exit")
	printCommit := flags.Bool("commit", false, "print the source commit and exit")
	local := flags.Bool(envdapi.LocalFlag, false, "there is no metadata service to ask")
	flags.Bool(envdapi.NoCgroupsFlag, false, "accepted for compatibility; no cgroups are made")
	flags.String("cgroup-root", "", "accepted for compatibility; no cgroups are made")
	verbose := flags.Bool("verbose", false, "log more")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *version:
		fmt.Println(envdapi.Version)
		return nil
	case *printCommit:
		fmt.Println(commit)
		return nil
	}

	// Listen first, because the platform retries until something answers on the port.
	listener, err := listen(net.JoinHostPort("", strconv.Itoa(*port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	syscall.Umask(0o022)
	limitFiles()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	lines := report.New()
	config := envd.DefaultConfig(newLog(*verbose, io.MultiWriter(os.Stderr, lines)))
	// Writing to the console is slow, so it gets only the daemon's own lines.
	config.Processes = newLog(*verbose, lines)
	config.Local, config.Report = *local, lines
	return envd.New(config).Run(ctx, listener)
}

// openFiles is the soft limit of open files that commands start with.
const openFiles = 65536

// limitFiles lowers the soft limit of open files. Go's runtime raises it to the hard limit
// at startup, and commands would inherit that. If lowering fails, they do.
func limitFiles() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		limit.Cur = min(openFiles, limit.Max)
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

// newLog returns a logger that uses the keys that clients know (api.md §3.14).
func newLog(verbose bool, to io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	names := map[string]string{slog.TimeKey: "timestamp", slog.MessageKey: "message"}
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if name, ok := names[a.Key]; ok && len(groups) == 0 {
				a.Key = name
			}
			if a.Key == slog.LevelKey && len(groups) == 0 {
				a.Value = slog.StringValue(strings.ToLower(a.Value.String()))
			}
			return a
		}})).With("logger", "envd")
}

// socketBuffer is the size of socket buffers in bytes. It keeps data flowing while a file
// is read or written.
const socketBuffer = 4 << 20

// listen sets the buffers before the socket listens, because a connection's maximum window
// is negotiated when it opens.
func listen(addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) {
			// If this fails, transfers are only slower.
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, socketBuffer)
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, socketBuffer)
		})
	}}
	return config.Listen(context.Background(), "tcp", addr)
}
