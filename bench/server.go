package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
	"shoal/test/installation"
)

// server is the installation of Shoal that is measured.
type server struct {
	*installation.Installation
	process *installation.Process
	http    *http.Client
}

// newServer starts an installation; env adds settings.
func newServer(env ...string) (*server, error) {
	i, err := installation.New(".", "bench", 81, append([]string{"SHOAL_LOG_FORMAT=json"}, env...)...)
	if err != nil {
		return nil, err
	}
	s := &server{Installation: i, http: &http.Client{Transport: &http.Transport{DisableCompression: true,
		MaxIdleConnsPerHost: 8}}}
	if s.process, err = s.Up(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *server) stop() error {
	err := errors.Join(s.process.Stop(syscall.SIGTERM, time.Minute), s.Down())
	return errors.Join(err, s.Remove())
}

// sandbox is a created sandbox.
type sandbox struct {
	ID    string `json:"sandboxID"`
	Token string `json:"envdAccessToken"`
	URL   string `json:"envdURL"`
}

func (s *server) call(ctx context.Context, method, path, body string, want int, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.API+path, strings.NewReader(body))
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

func (s *server) create(ctx context.Context) (sb sandbox, err error) {
	return sb, s.call(ctx, "POST", "/v2/sandboxes", `{"templateID":"base","timeout":3600}`, 201, &sb)
}

func (s *server) kill(ctx context.Context, sb sandbox) error {
	return s.call(ctx, "DELETE", "/sandboxes/"+sb.ID, "", 204, nil)
}

// envd makes a request to the sandbox's daemon through the proxy, as SDKs do.
func (s *server) envd(ctx context.Context, sb sandbox, method, path, contentType string,
	body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Proxy+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("E2b-Sandbox-Id", sb.ID)
	req.Header.Set("E2b-Sandbox-Port", strconv.Itoa(envdapi.Port))
	req.Header.Set(envdapi.TokenHeader, sb.Token)
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
func (s *server) phases() map[string]float64 {
	text := s.process.Output()
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
