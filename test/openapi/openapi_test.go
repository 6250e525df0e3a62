// Package openapi sends generated requests, valid and not, to a real Shoal and compares
// the answers with spec/openapi.yml. It needs root, bin/shoal and schemathesis;
// `make test-openapi` provides them.
package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/test/installation"
)

const (
	repository = "../.."
	limit      = 25 * time.Minute // of a run that hangs; one takes a few minutes
	adminToken = "openapi-admin"
)

// limits are small: generated requests make as many sandboxes and builds as they may.
var limits = shoal.TeamLimits{ConcurrentSandboxes: 6, Sandboxes: 100, MaxLength: time.Hour, MaxCPU: 2,
	MaxMemoryMB: 1024, ConcurrentBuilds: 2, Builds: 1000, DiskMB: 1024, StorageGB: 20,
	Templates: 100, Secrets: 50, Volumes: 20, VolumeMB: 64}

func TestAPIAnswersAsSpecified(t *testing.T) {
	if err := installation.Sweep(repository, map[string]int{"oapi": 85}); err != nil {
		t.Fatal(err)
	}
	i, err := installation.New(repository, "oapi", 85, "SHOAL_LOG_FORMAT=text",
		"SHOAL_ADMIN_TOKEN="+adminToken,
		"SHOAL_SHIPPED_ON_USE=false")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := i.Runnable(); err != nil {
		t.Skipf("run `make test-openapi`: %v", err)
	}
	schemathesis, err := filepath.Abs(".venv/bin/schemathesis")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(schemathesis); err != nil {
		t.Fatalf("schemathesis is not installed; run `make test-openapi`: %v", err)
	}
	up := serve(t, i)
	team, key, err := i.AddTeam(t.Context(), limits)
	if err != nil {
		t.Fatal(err)
	}
	template, build, err := register(t.Context(), "http://"+i.API, key)
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, schemathesis, "--config-file", "schemathesis.toml", "run",
		repository+"/spec/openapi.yml", "--url", "http://"+i.API)
	cmd.Env = append(os.Environ(), "SHOAL_TEST_API_KEY="+key, "SHOAL_TEST_ADMIN_TOKEN="+adminToken,
		"SHOAL_TEST_TEAM="+team, "SHOAL_TEST_TEMPLATE="+template, "SHOAL_TEST_BUILD="+build,
		"HYPOTHESIS_STORAGE_DIRECTORY="+t.TempDir())
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("schemathesis: %v; the end of Shoal's log:\n%s", err, up.Tail())
	}
}

// serve runs `shoal up` until the test ends, when nothing of it may be left.
func serve(t *testing.T, i *installation.Installation) *installation.Process {
	t.Helper()
	before, err := installation.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	up, err := i.Up()
	if up != nil {
		t.Cleanup(func() {
			if err := errors.Join(up.Stop(syscall.SIGTERM, 30*time.Second), i.Down()); err != nil {
				t.Error(err)
			}
			for _, leak := range before.AwaitQuiet() {
				t.Error("LEAK", leak)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// register makes a template of the team's with a build that waits for its start.
func register(ctx context.Context, api, key string) (template, build string, err error) {
	body := strings.NewReader(`{"name": "own"}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/v3/templates", body)
	if err != nil {
		return "", "", err
	}
	req.Header.Set("X-API-Key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	var answer gen.TemplateRegistration
	if resp.StatusCode != http.StatusAccepted {
		return "", "", fmt.Errorf("register a template: status %d", resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", "", fmt.Errorf("register a template: %w", err)
	}
	return answer.TemplateID, answer.BuildID, nil
}
