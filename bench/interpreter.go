package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"shoal/internal/shipped"
)

const interpreter = "code-interpreter-v1"

// buildInterpreter builds the code interpreter, which takes minutes.
func buildInterpreter(ctx context.Context, s *server) error {
	t, err := shipped.Find(interpreter)
	if err != nil {
		return err
	}
	return s.builder().Build(ctx, t)
}

// benchRunCode measures from a create to the answer of `1+1`, with pauses in which the pool is
// filled, and without.
func benchRunCode(ctx context.Context, b *bench, s *server) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name   string
		pause  time.Duration
		atMost float64
	}{{"create to run_code(\"1+1\"), from the warm pool", 4 * time.Second, 60},
		{"the same, one after the other", 0, 1000}} {
		var all, host times
		of := ""
		for n := range b.Rounds + 3 {
			begin := time.Now()
			sb, err := s.createOf(ctx, interpreter)
			if err != nil {
				return err
			}
			if err := s.execute(ctx, sb, "python", "1+1", `"text": "2"`); err != nil {
				return err
			}
			if n > 2 { // by then the pool has seen the demand
				all = append(all, time.Since(begin))
			}
			if err := s.kill(ctx, sb); err != nil {
				return err
			}
			if kind.pause == 0 {
				continue
			}
			of = "python3 -c in new namespaces of the host"
			begin = time.Now()
			if _, err := twin.run(ctx, "python3 -c 'print(1+1)'"); err != nil {
				return err
			}
			host = append(host, time.Since(begin))
			if err := rest(ctx, kind.pause); err != nil {
				return err
			}
		}
		b.compare(kind.name, all, host, of, atMost(kind.atMost))
	}
	return nil
}

// benchFirstCells measures the first cell of each language in a sandbox that has answered
// before, when the pool has been filled again: neither the create nor the next guest's start
// is in it.
func benchFirstCells(ctx context.Context, b *bench, s *server) error {
	for _, cell := range []struct {
		language, code, answer string
		atMost                 float64
	}{
		{"javascript", "1+1", `"text": "2"`, 1000}, {"typescript", "1+1", `"text": "2"`, 1000},
		{"r", "1+1", `"text": "[1] 2"`, 1000}, {"bash", "echo $((1+1))", `"text": "2\n"`, 1000},
		{"java", "1+1", `"text": "2"`, 2000},
	} {
		var all times
		for range firstCellRounds {
			sb, err := s.createOf(ctx, interpreter)
			if err != nil {
				return err
			}
			if err := s.execute(ctx, sb, "python", "1+1", `"text": "2"`); err != nil {
				return err
			}
			if err := rest(ctx, 6*time.Second); err != nil {
				return err
			}
			begin := time.Now()
			if err := s.execute(ctx, sb, cell.language, cell.code, cell.answer); err != nil {
				return err
			}
			all = append(all, time.Since(begin))
			if err := s.kill(ctx, sb); err != nil {
				return err
			}
		}
		b.compare(fmt.Sprintf("first cell in %s (median of %d)", cell.language, firstCellRounds), all, nil, "",
			atMost(cell.atMost))
	}
	return nil
}

// firstCellRounds is small, because the figure is far above what varies from one to the next.
const firstCellRounds = 5

// execute is run_code of a cell whose events contain the answer.
func (s *server) execute(ctx context.Context, sb sandbox, language, code, answer string) error {
	body, err := json.Marshal(map[string]string{"language": language, "code": code})
	if err != nil {
		return err
	}
	return s.ask(ctx, sb, "POST", 49999, "/execute", string(body), func(events string) bool {
		return strings.Contains(events, answer) && strings.Contains(events, "end_of_execution")
	})
}
