package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"shoal/internal/shoal"
	"shoal/test/installation"
)

// server is the installation of Shoal that is measured.
type server struct {
	*installation.Installation
	process *installation.Process
	http    *http.Client
	beside  *servers
}

// newServer starts an installation; env adds settings.
func newServer(env ...string) (*server, error) {
	i, err := installation.New(".", "bench", 81, append([]string{"SHOAL_LOG_FORMAT=json"}, env...)...)
	if err != nil {
		return nil, err
	}
	s := &server{Installation: i, http: &http.Client{Transport: &http.Transport{DisableCompression: true,
		MaxIdleConnsPerHost: clients}}}
	if s.process, err = s.Up(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *server) stop() error {
	err := errors.Join(s.process.Stop(syscall.SIGTERM, time.Minute), s.Down())
	return errors.Join(err, s.Remove())
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
