package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"shoal/internal/shipped"
	"shoal/internal/shoal"
	"shoal/templates"
)

// benchTemplates measures builds, from the request to "ready", and what is saved by keeping
// a start command in a template's memory.
func benchTemplates(ctx context.Context, r *report, s *server) error {
	if err := s.benchBuilds(ctx, r); err != nil {
		return err
	}
	return s.benchServing(ctx, r)
}

// build builds a template of the base image and returns how long it took.
func (s *server) build(ctx context.Context, name, start, ready string,
	commands ...string) (time.Duration, error) {
	t := templates.Template{Name: name, CPUCount: 2, MemoryMB: 1024, Image: "e2bdev/base", Start: start,
		Ready: ready}
	for _, c := range commands {
		t.Steps = append(t.Steps, templates.Step{Type: "RUN", Args: []string{c}})
	}
	client := &shipped.Client{API: "http://" + s.API, Key: shoal.DevAPIKey, Log: func(string, string) {}}
	begin := time.Now()
	err := client.Build(ctx, t)
	return time.Since(begin), err
}

const install = "pip install --no-cache-dir --disable-pip-version-check -q flask==3.1.2 requests==2.32.5"

func (s *server) benchBuilds(ctx context.Context, r *report) error {
	var cold, bare, last, same times
	for n := range buildRounds {
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		begin := time.Now()
		if _, err := s.command(ctx, sb, install); err != nil {
			return err
		}
		bare = append(bare, time.Since(begin))
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
		took, err := s.build(ctx, "bench-python", "", "", fmt.Sprintf("echo %d > /tmp/round", n), install)
		if err != nil {
			return err
		}
		cold = append(cold, took)
	}
	for n := range r.Rounds {
		commands := []string{fmt.Sprintf("echo %d > /tmp/round", buildRounds-1), install,
			fmt.Sprintf("echo %d > last", n)}
		for _, into := range []*times{&last, &same} {
			took, err := s.build(ctx, "bench-python", "", "", commands...)
			if err != nil {
				return err
			}
			*into = append(*into, took)
		}
	}
	r.compare(fmt.Sprintf("build of a Python template (median of %d)", buildRounds), cold, bare,
		"its pip install in a sandbox", 0)
	r.compare("rebuild, last line changed", last, nil, "", 5000)
	r.compare("rebuild, nothing changed", same, nil, "", 2000)
	return nil
}

// buildRounds is small, because each round downloads packages.
const buildRounds = 3

// benchServing measures from the create of a sandbox whose template serves HTTP to the
// first answer.
func (s *server) benchServing(ctx context.Context, r *report) error {
	_, err := s.build(ctx, "bench-server", "exec python3 -m http.server 8000",
		`curl -sf http://localhost:8000/ >/dev/null`, "echo hello > index.html")
	if err != nil {
		return err
	}
	var first times
	for range r.Rounds {
		var sb sandbox
		begin := time.Now()
		if err := s.call(ctx, "POST", "/v2/sandboxes", `{"templateID":"bench-server","timeout":600}`, 201,
			&sb); err != nil {
			return err
		}
		if err := s.get(ctx, sb, 8000, "/index.html", "hello\n"); err != nil {
			return err
		}
		first = append(first, time.Since(begin))
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
	}
	r.compare("create of a template that serves, first answer", first, nil, "", 0)
	return nil
}

// benchInterpreter builds the code interpreter, which takes minutes, and measures from a
// create to the answer of `1+1`.
func benchInterpreter(ctx context.Context, r *report, s *server) error {
	t, err := shipped.Find("code-interpreter-v1")
	if err != nil {
		return err
	}
	client := &shipped.Client{API: "http://" + s.API, Key: shoal.DevAPIKey, Log: func(string, string) {}}
	if err := client.Build(ctx, t); err != nil {
		return err
	}
	for _, kind := range []struct {
		name   string
		pause  time.Duration
		atMost float64
	}{{"create to run_code(\"1+1\"), from the warm pool", 4 * time.Second, 100},
		{"the same, one after the other", 0, 1000}} {
		var all times
		for n := range r.Rounds + 3 {
			var sb sandbox
			begin := time.Now()
			if err := s.call(ctx, "POST", "/v2/sandboxes",
				`{"templateID":"code-interpreter-v1","timeout":600}`, 201, &sb); err != nil {
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
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(kind.pause):
			}
		}
		r.compare(kind.name, all, nil, "", kind.atMost)
	}
	return s.benchFirstCells(ctx, r)
}

// benchFirstCells measures the first cell of each language in a sandbox that has answered
// before, so that the create is not in it.
func (s *server) benchFirstCells(ctx context.Context, r *report) error {
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
			var sb sandbox
			if err := s.call(ctx, "POST", "/v2/sandboxes",
				`{"templateID":"code-interpreter-v1","timeout":600}`, 201, &sb); err != nil {
				return err
			}
			if err := s.execute(ctx, sb, "python", "1+1", `"text": "2"`); err != nil {
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
		r.compare(fmt.Sprintf("first cell in %s (median of %d)", cell.language, firstCellRounds), all, nil, "",
			cell.atMost)
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

func (s *server) get(ctx context.Context, sb sandbox, port int, path, want string) error {
	return s.ask(ctx, sb, "GET", port, path, "", func(answer string) bool { return answer == want })
}

// ask sends a request to a port of the sandbox, through the proxy.
func (s *server) ask(ctx context.Context, sb sandbox, method string, port int, path, body string,
	right func(string) bool) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Proxy+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("E2b-Sandbox-Id", sb.ID)
	req.Header.Set("E2b-Sandbox-Port", fmt.Sprint(port))
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !right(string(answer))) {
		err = fmt.Errorf("%s of port %d: status %d: %s", path, port, resp.StatusCode, answer)
	}
	return err
}
