// Command fidelity runs programs that people use in sandboxes, each with one task before and
// after a pause with memory, and writes what worked into docs/guest.md. It fails if one does
// not work. It needs root, bin/shoal, and the registries that the programs come from;
// `make test-guest` provides the former. A program is an entry in one of the lists of kinds.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"shoal/test/installation"
)

const (
	document = "docs/guest.md"
	// log is what the last run's installation has said.
	log = "bin/fidelity.log"
	// subnet is that of the guests' addresses, 10.97.0.0/16 and 10.98.0.0/16.
	subnet = 97
	// together is how many kinds are tried at a time: the building of one goes on beside
	// the programs of another.
	together = 3
)

func main() {
	only := flag.String("only", "", "run only these programs, `name,name`, or kinds of programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "fidelity:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	// A guest must not rest in memory while it is paused, or its resume would prove little. None
	// is started ahead, so that it can be seen when a sandbox's guest has ended.
	env := []string{"SHOAL_LOG_FORMAT=text", "SHOAL_SHIPPED_ON_USE=false", "SHOAL_REST_TIME=0",
		"SHOAL_WARM_MAX=0", "SHOAL_SHELLS=0"}
	var tried results
	err = installation.Serve(".", "fidelity", subnet, log, env, func(i *installation.Installation) error {
		var group errgroup.Group
		group.SetLimit(together)
		for _, k := range chosen {
			group.Go(func() error { return k.try(ctx, i, &tried) })
		}
		return group.Wait()
	})
	return errors.Join(err, renew(document, &tried), tried.failures())
}

// choose returns the kinds with the wanted programs; none named are all.
func choose(only string) ([]kind, error) {
	if only == "" {
		return kinds, nil
	}
	var chosen []kind
	wanted := strings.Split(only, ",")
	for _, k := range kinds {
		if slices.Contains(wanted, k.name) {
			chosen = append(chosen, k)
			continue
		}
		var programs []program
		for _, p := range k.programs {
			if slices.Contains(wanted, p.name) {
				programs = append(programs, p)
			}
		}
		if k.programs = programs; len(programs) > 0 {
			chosen = append(chosen, k)
		}
	}
	for _, name := range wanted {
		if !slices.ContainsFunc(kinds, func(k kind) bool {
			return k.name == name || slices.ContainsFunc(k.programs, func(p program) bool { return p.name == name })
		}) {
			return nil, fmt.Errorf("there is no program or kind %q", name)
		}
	}
	return chosen, nil
}
