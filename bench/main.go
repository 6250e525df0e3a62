// Command bench measures Shoal against named anchors within one run, because absolute times
// say more about the machine than about the program. docs/performance.md says what the rows
// mean. It needs root and bin/shoal; `make bench` provides both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	rounds := flag.Int("rounds", 20, "measurements of each kind; medians are reported")
	many := flag.Int("many", 50, "sandboxes alive at once for the memory figure")
	wanted := flag.String("row", "", "measure only these rows or groups of rows, `name,name`:\n"+listRows())
	output := flag.String("json", "bin/bench.json", "file for the machine-readable report")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rounds, *many, *wanted, *output); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, many int, wanted, output string) error {
	chosen, err := choose(wanted)
	if err != nil {
		return err
	}
	b := &bench{report: newReport(rounds), many: many}
	err = errors.Join(b.measure(ctx, chosen), b.close())
	b.print(os.Stdout) // even if the run was cut short
	return errors.Join(err, b.save(output))
}

// bench is one run.
type bench struct {
	*report
	many int

	cold times // creates with nothing started ahead, an anchor of others

	anchorDir string // files of the anchors
	stock     *stockRuntime
	twin      *twin
}

// measure runs the rows of each group on an installation of the group's own.
func (b *bench) measure(ctx context.Context, groups []group) error {
	for _, g := range groups {
		err := with(ctx, g, func(s *server) error {
			if g.prepare != nil {
				if err := g.prepare(ctx, s); err != nil {
					return fmt.Errorf("prepare the group %s: %w", g.name, err)
				}
			}
			for _, r := range g.rows {
				b.row = r.name
				fmt.Fprintf(os.Stderr, "bench: %s\n", r.name)
				if err := r.measure(ctx, b, s); err != nil {
					return fmt.Errorf("row %s: %w", r.name, err)
				}
			}
			return nil
		})
		if errors.Is(err, errMissing) {
			b.note("The group %s %v.", g.name, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// with runs measure on an installation of a group's own, and servers beside it.
func with(ctx context.Context, g group, measure func(*server) error) (err error) {
	beside, err := g.servers.start(ctx)
	if err != nil {
		return err
	}
	defer beside.stop()
	env, err := beside.env(ctx)
	if err != nil {
		return err
	}
	s, err := newServer(append(env, g.env...)...)
	if err != nil {
		return err
	}
	s.beside = beside
	defer func() {
		if stopErr := s.stop(); err == nil {
			err = stopErr
		}
	}()
	return measure(s)
}

// againstStock returns the stock runtime, which is made when a row first asks for it.
func (b *bench) againstStock(s *server) (*stockRuntime, error) {
	dir, err := b.dirOfAnchors()
	if err == nil && b.stock == nil {
		b.stock, err = newStock(dir, s.ImageDir)
	}
	return b.stock, err
}

// againstHost returns the host's twin of a guest, which is made when a row first asks for it.
func (b *bench) againstHost(ctx context.Context, s *server) (*twin, error) {
	dir, err := b.dirOfAnchors()
	if err == nil && b.twin == nil {
		b.twin, err = newTwin(ctx, dir, s.ImageDir)
	}
	return b.twin, err
}

func (b *bench) dirOfAnchors() (dir string, err error) {
	if b.anchorDir == "" {
		if b.anchorDir, err = os.MkdirTemp("", "shoal-bench-anchors-"); err == nil {
			err = os.Chmod(b.anchorDir, 0o755) // the twin's user goes through it
		}
	}
	return b.anchorDir, err
}

func (b *bench) close() error {
	if b.stock != nil {
		b.stock.close()
	}
	var err error
	if b.twin != nil {
		err = b.twin.close()
	}
	if b.anchorDir != "" {
		err = errors.Join(err, os.RemoveAll(b.anchorDir))
	}
	return err
}
