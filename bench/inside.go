package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// taskRows makes a row of each task.
func taskRows() (rows []row) {
	for _, t := range tasks {
		rows = append(rows, row{t.row, func(ctx context.Context, b *bench, s *server) error {
			return benchTask(ctx, b, s, t)
		}})
	}
	return rows
}

// benchTask measures a task in a new guest and on the host, in turns.
func benchTask(ctx context.Context, b *bench, s *server, t task) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	sb, err := s.create(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.kill(context.WithoutCancel(ctx), sb) }()
	ours := place{run: func(line string) (string, error) { return s.command(ctx, sb, line) }}
	host := place{run: func(line string) (string, error) { return twin.run(ctx, line) }}
	rounds := b.Rounds
	if t.rounds > 0 {
		rounds = min(rounds, t.rounds)
	}
	for _, p := range []*place{&ours, &host} {
		if err := p.prepare(t); err != nil {
			return err
		}
	}
	for range rounds {
		for _, p := range []*place{&ours, &host} {
			if err := p.measure(t); err != nil {
				return err
			}
		}
	}
	b.compare(t.name, ours.took, host.took, ofDisk, t.wanted...)
	return nil
}

// place is where a task is measured.
type place struct {
	run  func(line string) (string, error)
	took times
}

// prepare sets the task up, and does its work once so that its programs and files have been
// read.
func (p *place) prepare(t task) error {
	if _, err := p.run(t.preparation()); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	_, err := p.run(t.script(1))
	return err
}

// measure adds the samples of one round.
func (p *place) measure(t task) error {
	out, err := p.run(t.script(t.samples))
	if err != nil {
		return err
	}
	lines := strings.Fields(out)
	if len(lines) != t.samples {
		return fmt.Errorf("%d samples instead of %d: %q", len(lines), t.samples, out)
	}
	for _, line := range lines {
		us, err := strconv.Atoi(line)
		if err != nil {
			return fmt.Errorf("the time of a sample: %w", err)
		}
		p.took = append(p.took, time.Duration(us)*time.Microsecond)
	}
	return nil
}
