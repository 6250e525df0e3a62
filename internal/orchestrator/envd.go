package orchestrator

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"shoal/internal/shoal"
)

var envdPort = strconv.Itoa(shoal.EnvdPort)

// initTry bounds one of the first attempts at /init, and initPause separates two
// (runtime.md §3.5). A packet that came before the guest has its address is lost, hence
// short attempts; a guest that has little processor needs longer ones, so that they grow
// to initShare of the time that went by.
const (
	initTry   = 50 * time.Millisecond
	initPause = 2 * time.Millisecond
	initShare = 4
)

// envdClient speaks to the daemons of this machine's guests.
type envdClient struct{ http *http.Client }

func newEnvdClient() *envdClient {
	transport := newEnvdTransport()
	transport.DisableKeepAlives = true // a slot's address may have a new guest next time
	return &envdClient{http: &http.Client{Transport: transport}}
}

// newGuestClient is for one guest and keeps its connection, which costs the guest a
// dozen system calls to make. It is to be closed before the guest's address is another's.
func newGuestClient() *envdClient {
	return &envdClient{http: &http.Client{Transport: newEnvdTransport()}}
}

func newEnvdTransport() *http.Transport {
	return &http.Transport{
		// No probes: a frozen guest would not answer them.
		DialContext:            (&net.Dialer{Timeout: time.Second, KeepAlive: -1}).DialContext,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func (c *envdClient) close() { c.http.CloseIdleConnections() }

// envdInit is the body of POST /init (envd.md §1.4).
type envdInit struct {
	Timestamp      time.Time         `json:"timestamp"`
	EnvVars        map[string]string `json:"envVars,omitempty"`
	AccessToken    *string           `json:"accessToken,omitempty"`
	HyperloopIP    string            `json:"hyperloopIP,omitempty"`
	DefaultUser    string            `json:"defaultUser,omitempty"`
	DefaultWorkdir string            `json:"defaultWorkdir,omitempty"`
	LifecycleID    string            `json:"lifecycleID,omitempty"`
	// Identity is Shoal's own: it counts in a guest that was started ahead.
	Identity *envdIdentity `json:"identity,omitempty"`
}

type envdIdentity struct {
	Secret     string `json:"secret"`
	SandboxID  string `json:"sandboxID"`
	TemplateID string `json:"templateID"`
	TokenHash  string `json:"accessTokenHash"`
}

// hyperloopIP is the address at which a guest finds its node (envd.md §4.1).
const hyperloopIP = "192.0.2.1"

// init repeats POST /init until the daemon answers.
func (c *envdClient) init(ctx context.Context, host string, body envdInit) error {
	return c.repeat(ctx, "/init", func(ctx context.Context) (int, error) { return c.tryInit(ctx, host, body) })
}

// ready repeats GET /health until the daemon answers.
func (c *envdClient) ready(ctx context.Context, host string) error {
	return c.repeat(ctx, "/health", func(ctx context.Context) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, envdPort)+"/health", nil)
		if err != nil {
			return 0, err
		}
		return c.status(req)
	})
}

// repeat tries until there is an answer. The daemon binds a moment after the
// guest started; until then the connection is refused or lost.
func (c *envdClient) repeat(ctx context.Context, what string, try func(context.Context) (int, error)) error {
	tick := time.NewTicker(initPause)
	defer tick.Stop()
	var last error
	for begin := time.Now(); ; {
		limited, cancel := context.WithTimeout(ctx, max(initTry, time.Since(begin)/initShare))
		status, err := try(limited)
		cancel()
		switch {
		case err == nil && status == http.StatusNoContent:
			return nil
		case err == nil:
			return fmt.Errorf("envd refused %s with status %d", what, status)
		}
		last = err
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

func (c *envdClient) tryInit(ctx context.Context, host string, body envdInit) (int, error) {
	body.Timestamp = time.Now().UTC()
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(host, envdPort)+"/init", bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if id := shoal.RequestID(ctx); id != "" {
		req.Header.Set(shoal.RequestIDHeader, id)
	}
	return c.status(req)
}

// run lets the daemon run a command line in a login shell, as clients do, and
// waits for its end, however it ends.
func (c *envdClient) run(ctx context.Context, host, user, command string) error {
	message, err := json.Marshal(map[string]any{"process": map[string]any{"cmd": "/bin/bash", "args": []string{"-l", "-c", command}}})
	if err != nil {
		return err
	}
	envelope := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(message)))...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(host, envdPort)+"/process.Process/Start",
		bytes.NewReader(append(envelope, message...)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/connect+json")
	if user != "" {
		req.SetBasicAuth(user, "")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func (c *envdClient) status(req *http.Request) (int, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	return resp.StatusCode, nil
}

// envdMetrics is the answer of GET /metrics (envd.md §1.2).
type envdMetrics struct {
	Timestamp  int64   `json:"ts"`
	CPUCount   int     `json:"cpu_count"`
	CPUUsedPct float64 `json:"cpu_used_pct"`
	MemTotal   int64   `json:"mem_total"`
	MemUsed    int64   `json:"mem_used"`
	MemCache   int64   `json:"mem_cache"`
	DiskTotal  int64   `json:"disk_total"`
	DiskUsed   int64   `json:"disk_used"`
}

func (c *envdClient) metrics(ctx context.Context, host, token string) (shoal.Metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, envdPort)+"/metrics", nil)
	if err != nil {
		return shoal.Metrics{}, err
	}
	if token != "" {
		req.Header.Set("X-Access-Token", token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return shoal.Metrics{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return shoal.Metrics{}, fmt.Errorf("envd answered /metrics with status %d", resp.StatusCode)
	}
	var m envdMetrics
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&m); err != nil {
		return shoal.Metrics{}, fmt.Errorf("decode envd's metrics: %w", err)
	}
	return shoal.Metrics{Time: time.Now().UTC(), CPUCount: m.CPUCount, CPUUsedPct: m.CPUUsedPct,
		MemUsed: m.MemUsed, MemTotal: m.MemTotal, MemCache: m.MemCache,
		DiskUsed: m.DiskUsed, DiskTotal: m.DiskTotal}, nil
}

// tokenHash is what authorises envd to take a token, or none, that it does not
// know yet (envd.md §3.3). It reaches the guest outside of its own network.
func tokenHash(token string) string {
	sum := sha512.Sum512([]byte(token))
	return hex.EncodeToString(sum[:])
}
