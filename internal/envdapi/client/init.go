package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// attemptTime bounds one of the first attempts to reach a daemon, and attemptPause
// separates two (runtime.md §3.5). A packet that came before the guest has its address is
// lost, hence short attempts; a guest that has little processor needs longer ones, so they
// grow with the time that went by, of which each may take one part in attemptShare.
const (
	attemptTime  = 50 * time.Millisecond
	attemptPause = 2 * time.Millisecond
	attemptShare = 4
)

// Init repeats POST /init until the daemon answers or ctx ends. The timestamp is set here.
// The error has the cause of ctx's end.
func (c *Client) Init(ctx context.Context, body envdapi.Init) error {
	return c.repeat(ctx, http.MethodPost, envdapi.InitPath, func() ([]byte, error) {
		now := time.Now().UTC()
		body.Timestamp = &now
		return json.Marshal(body)
	})
}

// Ready repeats GET /health until the daemon answers or ctx ends. The error has the cause
// of ctx's end.
func (c *Client) Ready(ctx context.Context) error {
	return c.repeat(ctx, http.MethodGet, envdapi.HealthPath, func() ([]byte, error) { return nil, nil })
}

// repeat sends a request until there is an answer. The daemon binds a moment after the
// guest started; until then the connection is refused or lost.
func (c *Client) repeat(ctx context.Context, method, path string, body func() ([]byte, error)) error {
	tick := time.NewTicker(attemptPause)
	defer tick.Stop()
	for begin := time.Now(); ; {
		data, err := body()
		if err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, max(attemptTime, time.Since(begin)/attemptShare))
		status, err := c.status(attempt, method, path, data)
		cancel()
		switch {
		case err == nil && status == http.StatusNoContent:
			return nil
		case err == nil:
			return fmt.Errorf("envd refused %s with status %d", path, status)
		case errors.As(err, new(*AnswerError)):
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func (c *Client) status(ctx context.Context, method, path string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if id := shoal.RequestID(ctx); id != "" {
		req.Header.Set(envdapi.RequestIDHeader, id)
	}
	telemetry.Inject(ctx, req.Header, telemetry.TraceHeader)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}
