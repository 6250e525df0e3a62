package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"shoal/internal/shoal"
)

// installation is the Shoal that is measured, apart from any other on the machine.
type installation struct {
	dir, images string
	api, proxy  string
	env         []string
	cmd         *exec.Cmd
	done        chan error
	log         lines
	http        *http.Client
}

// lines collects the log and wakes whoever waits for a line.
type lines struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	change chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.change != nil {
		close(l.change)
	}
	l.change = make(chan struct{})
	return l.buf.Write(p)
}

func (l *lines) state() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.change == nil {
		l.change = make(chan struct{})
	}
	return l.buf.String(), l.change
}

// newInstallation adds env to the settings.
func newInstallation(env ...string) (*installation, error) {
	dir, err := os.MkdirTemp("", "shoal-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	images, err := filepath.Abs("bin/test-images")
	if err != nil {
		return nil, err
	}
	var ports []string
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().String())
	}
	s := &installation{dir: dir, images: images, api: ports[0], proxy: ports[1], done: make(chan error, 1),
		http: &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}}
	s.env = append(os.Environ(), "SHOAL_DEV=true", "SHOAL_INSTANCE=bench", "SHOAL_IMAGE_DIR="+images,
		"SHOAL_DATA_DIR="+filepath.Join(dir, "data"), "SHOAL_RUN_DIR="+filepath.Join(dir, "run"), "SHOAL_LOG_FORMAT=json",
		"SHOAL_API_LISTEN="+ports[0], "SHOAL_PROXY_LISTEN="+ports[1], "SHOAL_HEALTH_LISTEN="+ports[2], "SHOAL_NODE_LISTEN="+ports[3],
		"SHOAL_HOST_CIDR=10.81.0.0/16", "SHOAL_VETH_CIDR=10.82.0.0/16")
	s.env = append(s.env, env...)
	s.cmd = exec.Command("bin/shoal", "up")
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr, s.cmd.WaitDelay = s.env, &s.log, &s.log, time.Second
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return s, nil
}

func (s *installation) start(ctx context.Context) error {
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() { s.done <- s.cmd.Wait() }()
	for {
		text, change := s.log.state()
		if strings.Contains(text, "export E2B_API_KEY") {
			return nil
		}
		select {
		case <-change:
		case err := <-s.done:
			return fmt.Errorf("shoal up ended: %v\n%s", err, text)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *installation) stop() error {
	defer os.RemoveAll(s.dir)
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	if err == nil {
		<-s.done
	}
	down := exec.Command("bin/shoal", "down")
	down.Env, down.WaitDelay = s.env, time.Second
	if out, downErr := down.CombinedOutput(); downErr != nil {
		return fmt.Errorf("shoal down: %w\n%s", downErr, out)
	}
	return err
}

// sandbox is a created sandbox.
type sandbox struct {
	ID    string `json:"sandboxID"`
	Token string `json:"envdAccessToken"`
	URL   string `json:"envdURL"`
}

func (s *installation) call(ctx context.Context, method, path, body string, want int, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.api+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", shoal.DevAPIKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != want {
		return fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

func (s *installation) create(ctx context.Context) (sb sandbox, err error) {
	return sb, s.call(ctx, "POST", "/v2/sandboxes", `{"templateID":"base","timeout":3600}`, 201, &sb)
}

func (s *installation) kill(ctx context.Context, sb sandbox) error {
	return s.call(ctx, "DELETE", "/sandboxes/"+sb.ID, "", 204, nil)
}

// envd makes a request to the sandbox's daemon through the proxy, as SDKs do.
func (s *installation) envd(ctx context.Context, sb sandbox, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.proxy+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("E2b-Sandbox-Id", sb.ID)
	req.Header.Set("E2b-Sandbox-Port", "49983")
	req.Header.Set("X-Access-Token", sb.Token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		data, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, data)
	}
	return resp, nil
}

// phases reads the phase timers of all creates from the log: medians in ms.
func (s *installation) phases() map[string]float64 {
	text, _ := s.log.state()
	all := map[string]times{}
	for _, line := range strings.Split(text, "\n") {
		var entry struct {
			Message string             `json:"msg"`
			Total   float64            `json:"total_ms"`
			Phases  map[string]float64 `json:"phases_ms"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Message != "sandbox created" {
			continue
		}
		entry.Phases["total"] = entry.Total
		for name, ms := range entry.Phases {
			all[name] = append(all[name], time.Duration(ms*float64(time.Millisecond)))
		}
	}
	medians := map[string]float64{}
	for name, t := range all {
		medians[name] = t.median()
	}
	return medians
}

var errNoAnswer = errors.New("the guest's daemon does not answer")
