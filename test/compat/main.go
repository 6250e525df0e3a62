// Command compat runs releases of E2B's clients, the newest and older ones, against an
// installation of its own, and writes what worked into docs/compatibility.md. It fails if
// anything does. It needs root, bin/shoal, npm and Python; `make compat` provides them.
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
)

const (
	room     = "test/compat"
	document = "docs/compatibility.md"
	// cache holds the installed clients, each in a directory of its own.
	cache = room + "/.cache"
	// together is how many clients run, or are installed, at a time.
	together = 2
)

func main() {
	only := flag.String("only", "", "run only clients whose name contains this, and leave "+document+" as it is")
	install := flag.Bool("install", false, "only look which clients there are, and install them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *install); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, installOnly bool) error {
	clients, err := resolve(ctx)
	if err != nil {
		return err
	}
	if only != "" {
		clients = slices.DeleteFunc(clients, func(c *client) bool { return !strings.Contains(c.name(), only) })
	}
	if err := each(ctx, clients, (*client).install); err != nil || installOnly {
		return err
	}
	if err := withDomain(func(env []string) error {
		return each(ctx, clients, func(c *client, ctx context.Context) error { return c.run(ctx, env) })
	}); err != nil {
		return err
	}
	tables := render(clients)
	fmt.Print(tables)
	if only == "" {
		err = renew(document, tables)
	}
	return errors.Join(err, failures(clients))
}

// each does something with every client, some at a time.
func each(ctx context.Context, clients []*client, do func(*client, context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for _, c := range clients {
		group.Go(func() error {
			if err := do(c, ctx); err != nil {
				return fmt.Errorf("%s: %w", c.name(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// failures says how many features failed, or returns nil if none did.
func failures(clients []*client) error {
	failed := 0
	for _, c := range clients {
		for _, r := range c.results {
			if r.Outcome == fails {
				failed++
			}
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d features failed", failed)
}
