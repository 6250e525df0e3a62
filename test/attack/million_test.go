package attack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMillionFiles: a sandbox of 4 GiB has room for a million files, as package and data
// directories have them, and can be saved with them.
func TestMillionFiles(t *testing.T) {
	if !*long {
		t.Skip("takes minutes; it is part of the long form")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	template := buildLarge(ctx, t)
	t.Cleanup(func() { ask(context.Background(), "DELETE", "/templates/"+template, "") })
	var s sandbox
	demand(t, "POST", "/v2/sandboxes", fmt.Sprintf(`{"templateID":%q,"timeout":3600}`, template), &s)
	t.Cleanup(func() { s.kill() })
	out := s.python(t, 15*time.Minute, "user", "million.py", "1000000")
	t.Logf("%s; the guest takes %d MiB", strings.TrimSpace(out), guestMemory(t)>>20)
	if !strings.HasPrefix(out, "1000000 files") {
		t.Errorf("%s", out)
	}
	counts := func(s sandbox) {
		t.Helper()
		out, err := s.run(ctx, "user", "find many -type f | wc -l")
		if err != nil || strings.TrimSpace(out) != "1000000" {
			t.Errorf("%s has %q files, error %v", s.ID, out, err)
		}
	}
	began := time.Now()
	demand(t, "POST", "/sandboxes/"+s.ID+"/pause", `{}`, nil)
	t.Logf("paused in %s", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	demand(t, "POST", "/sandboxes/"+s.ID+"/connect", `{"timeout":3600}`, nil)
	t.Logf("resumed in %s", time.Since(began).Round(time.Millisecond))
	counts(s)
	var forks []struct{ Sandbox sandbox }
	began = time.Now()
	demand(t, "POST", "/sandboxes/"+s.ID+"/fork", `{"count":1,"timeout":3600}`, &forks)
	t.Logf("forked in %s", time.Since(began).Round(time.Millisecond))
	defer forks[0].Sandbox.kill()
	counts(forks[0].Sandbox)
	counts(s)
}

// buildLarge makes a template like the base's with 4 GiB of memory, and returns its ID.
func buildLarge(ctx context.Context, t *testing.T) string {
	t.Helper()
	var made struct{ TemplateID, BuildID string }
	demand(t, "POST", "/v3/templates", `{"name":"large","memoryMB":4096,"cpuCount":2}`, &made)
	path := "/templates/" + made.TemplateID + "/builds/" + made.BuildID
	demand(t, "POST", "/v2"+path, `{"fromTemplate":"base","steps":[]}`, nil)
	for ctx.Err() == nil {
		var said struct{ Status string }
		demand(t, "GET", path+"/status", "", &said)
		if said.Status == "ready" {
			return made.TemplateID
		} else if said.Status == "error" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the template was not built")
	return ""
}

// guestMemory is the memory of the largest sandbox kernel of this installation, in bytes.
func guestMemory(t *testing.T) (most int64) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), server.RunDir) || !strings.Contains(string(line), "boot") {
			continue
		}
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		for text := range strings.Lines(string(status)) {
			var kb int64
			if _, err := fmt.Sscanf(text, "VmRSS: %d kB", &kb); err == nil {
				most = max(most, kb<<10)
			}
		}
	}
	return most
}
