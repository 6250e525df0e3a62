package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"shoal/internal/config"
	"shoal/internal/endpoint"
)

type logLevelCmd struct {
	Levels string `arg:"" optional:"" placeholder:"LEVEL,ROOM=LEVEL,…" help:"What to change it to, as of log-level, until the next start. It is only shown if this is left out."`
	Role   string `placeholder:"ROLE" help:"Only of this role's process: up, api, orchestrator or proxy. All of this machine by default."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// logLevelTime bounds the wait for one process.
const logLevelTime = 5 * time.Second

// Run shows or changes the level of the log of this machine's running processes.
func (c *logLevelCmd) Run(ctx context.Context, cfg *config.Config) error {
	sockets, err := endpoint.OperatorSockets(cfg.RunDir)
	if err != nil {
		return err
	}
	levels, rows := map[string]string{}, [][]string{}
	for _, path := range sockets {
		role := strings.TrimSuffix(filepath.Base(path), ".sock")
		if c.Role != "" && c.Role != role {
			continue
		}
		level, err := askLevel(ctx, path, c.Levels)
		if errors.As(err, new(*net.OpError)) && c.Role == "" {
			continue // it is left of a process that is gone
		}
		if err != nil {
			return fmt.Errorf("%s: %w", role, err)
		}
		levels[role] = level
		rows = append(rows, []string{role, level})
	}
	switch {
	case len(rows) == 0:
		return fmt.Errorf("no process answers below %s: name the run-dir of the one that runs", cfg.RunDir)
	case c.JSON:
		return printJSON(levels)
	}
	return printTable("ROLE\tLEVEL", rows)
}

// askLevel reads the level of the process at a socket, or sets it if one is given.
func askLevel(ctx context.Context, socket, change string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, logLevelTime)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	method := http.MethodGet
	if change != "" {
		method = http.MethodPut
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://shoal"+endpoint.LogLevelPath, strings.NewReader(change))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	answer := strings.TrimSpace(string(text))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(answer)
	}
	return answer, err
}
