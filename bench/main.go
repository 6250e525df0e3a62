// Command bench measures Shoal against named anchors within one run, because absolute times
// say more about the machine than about the program. It needs root and bin/shoal; `make
// bench` provides both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	rounds := flag.Int("rounds", 20, "measurements of each kind; medians are reported")
	many := flag.Int("many", 50, "sandboxes alive at once for the memory figure")
	only := flag.String("only", "",
		"measure only this: create, command, transfer, pause, memory, warm, templates, or interpreter,\n"+
			"which takes a long build and is not measured otherwise")
	output := flag.String("json", "bin/bench.json", "file for the machine-readable report")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rounds, *many, *only, *output); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, many int, only, output string) error {
	r := &report{Machine: describeMachine(), Rounds: rounds}
	err := measureAll(ctx, r, many, only)
	r.print(os.Stdout) // even if the run was cut short
	return errors.Join(err, r.save(output))
}

func measureAll(ctx context.Context, r *report, many int, only string) error {
	apart := map[string]func(context.Context, *report, *server) error{
		"templates": benchTemplates, "interpreter": benchInterpreter}
	if only != "warm" && apart[only] == nil {
		// Nothing is started ahead and nothing rests, so every create and every resume does
		// all of its work.
		err := with([]string{"SHOAL_WARM_MAX=0", "SHOAL_REST_TIME=0s"}, func(s *server) error {
			return measureCold(ctx, r, s, many, only)
		})
		if err != nil {
			return err
		}
	}
	if only == "" || only == "warm" {
		err := with([]string{fmt.Sprintf("SHOAL_WARM=base=%d", warmGuests),
			"SHOAL_WARM_MAX=" + strconv.Itoa(warmGuests)}, func(s *server) error {
			return benchWarm(ctx, r, s)
		})
		if err != nil {
			return err
		}
	}
	for name, measure := range apart {
		if only != name && (only != "" || name == "interpreter") {
			continue
		}
		if err := with(nil, func(s *server) error { return measure(ctx, r, s) }); err != nil {
			return err
		}
	}
	return nil
}

// with runs measure on an installation of its own.
func with(env []string, measure func(*server) error) (err error) {
	s, err := newServer(env...)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := s.stop(); err == nil {
			err = stopErr
		}
	}()
	return measure(s)
}

func measureCold(ctx context.Context, r *report, s *server, many int, only string) error {
	stock, err := newStock(s)
	if err != nil {
		return err
	}
	defer stock.close()
	for _, part := range []struct {
		name string
		run  func(context.Context, *report, *server, *stockRuntime) error
	}{{"create", benchCreate}, {"command", benchCommand}, {"transfer", benchTransfer},
		{"pause", benchPause}} {
		if only == "" || only == part.name {
			if err := part.run(ctx, r, s, stock); err != nil {
				return err
			}
		}
	}
	if only == "" || only == "memory" {
		if err := benchMemory(ctx, r, s, many); err != nil {
			return err
		}
	}
	r.Phases = s.phases()
	return nil
}
