package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"shoal/internal/shipped"
	"shoal/internal/shoal"
	"shoal/templates"
)

// build builds a template of the base image and returns how long it took.
func (s *server) build(ctx context.Context, name, start, ready string,
	commands ...string) (time.Duration, error) {
	t := templates.Template{Name: name, CPUCount: 2, MemoryMB: 1024, Image: "e2bdev/base", Start: start,
		Ready: ready}
	for _, c := range commands {
		t.Steps = append(t.Steps, templates.Step{Type: "RUN", Args: []string{c}})
	}
	begin := time.Now()
	err := s.builder().Build(ctx, t)
	return time.Since(begin), err
}

// builder builds templates, and says nothing of it.
func (s *server) builder() *shipped.Client {
	return &shipped.Client{API: "http://" + s.API, Key: shoal.DevAPIKey, Log: func(string, string) {}}
}

const install = "pip install --no-cache-dir --disable-pip-version-check -q flask==3.1.2 requests==2.32.5"

// benchBuilds measures builds, from the request to "ready".
func benchBuilds(ctx context.Context, b *bench, s *server) error {
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
	for n := range b.Rounds {
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
	b.compare(fmt.Sprintf("build of a Python template (median of %d)", buildRounds), cold, bare,
		"its pip install in a sandbox")
	b.compare("rebuild, last line changed", last, nil, "", atMost(5000))
	b.compare("rebuild, nothing changed", same, nil, "", atMost(2000))
	return nil
}

// buildRounds is small, because each round downloads packages.
const buildRounds = 3

// benchServing measures from the create of a sandbox whose template serves HTTP to the
// first answer.
func benchServing(ctx context.Context, b *bench, s *server) error {
	_, err := s.build(ctx, "bench-server", "exec python3 -m http.server 8000",
		`curl -sf http://localhost:8000/ >/dev/null`, "echo hello > index.html")
	if err != nil {
		return err
	}
	var first times
	for range b.Rounds {
		begin := time.Now()
		sb, err := s.createOf(ctx, "bench-server")
		if err != nil {
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
	b.compare("create of a template that serves, first answer", first, nil, "")
	return nil
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
