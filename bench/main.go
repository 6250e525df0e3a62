// Command bench measures Shoal against named anchors within one run, because
// absolute times say more about a machine than about a program. It needs root and
// bin/shoal; `make bench` provides both.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	rounds := flag.Int("rounds", 20, "measurements of each kind; medians are reported")
	many := flag.Int("many", 50, "sandboxes alive at once for the memory figure")
	only := flag.String("only", "", "measure only this: create, command, transfer or memory")
	output := flag.String("json", "bin/bench.json", "file for the machine-readable report")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rounds, *many, *only, *output); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, many int, only, output string) (err error) {
	server, err := newInstallation()
	if err != nil {
		return err
	}
	if err := server.start(ctx); err != nil {
		return err
	}
	defer func() {
		if stopErr := server.stop(); err == nil {
			err = stopErr
		}
	}()
	stock, err := newStock(server)
	if err != nil {
		return err
	}
	defer stock.close()
	r := &report{Machine: describeMachine(), Rounds: rounds}
	for _, part := range []struct {
		name string
		run  func(context.Context, *report, *installation, *stockRuntime) error
	}{{"create", benchCreate}, {"command", benchCommand}, {"transfer", benchTransfer}} {
		if only == "" || only == part.name {
			if err := part.run(ctx, r, server, stock); err != nil {
				return err
			}
		}
	}
	if only == "" || only == "memory" {
		if err := benchMemory(ctx, r, server, many); err != nil {
			return err
		}
	}
	r.Phases = server.phases()
	r.print(os.Stdout)
	return r.save(output)
}
