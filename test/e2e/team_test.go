package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// otherTeam adds a team with a key to the store of the running server.
func otherTeam(t *testing.T) (key string) {
	t.Helper()
	_, key, err := server.AddTeam(t.Context(), shoal.DefaultTeamLimits())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// callAs makes an API request with the given key.
func (b *box) callAs(t *testing.T, key, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.API+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// TestForeignTeam tries everything that can be done to another team's sandboxes and
// snapshots. To a stranger they do not exist, and nothing happens to them.
func TestForeignTeam(t *testing.T) {
	key := otherTeam(t)
	runs, paused := server.create(t), server.create(t)
	for _, c := range []created{runs, paused} {
		server.write(t, c, "/dev/shm/mark", "in memory")
	}
	snapshot, _ := server.snapshot(t, runs)
	server.demand(t, 204, "POST", "/sandboxes/"+paused.SandboxID+"/pause", `{}`)
	end := server.endOf(t, runs)

	absent := func(method, path, body string) {
		t.Helper()
		status, answer := server.callAs(t, key, method, path, body)
		var r refusal
		if err := json.Unmarshal([]byte(answer), &r); err != nil || status != 404 || r.Code != 404 ||
			r.Message == "" {
			t.Errorf("%s %s: %d %s, want 404", method, path, status, answer)
		}
	}
	for _, c := range []created{runs, paused} {
		path := "/sandboxes/" + c.SandboxID
		absent("GET", path, "")
		absent("POST", path+"/connect", `{"timeout":3600}`)
		absent("POST", "/v2"+path+"/connect", `{}`)
		absent("POST", path+"/resume", `{"timeout":3600}`)
		absent("POST", path+"/pause", `{}`)
		absent("POST", path+"/timeout", `{"timeout":0}`)
		absent("POST", path+"/refreshes", `{"duration":3600}`)
		absent("POST", path+"/fork", `{"count":1}`)
		absent("POST", path+"/snapshots", `{}`)
		absent("PUT", path+"/network", `{"denyOut":["0.0.0.0/0"]}`)
		absent("DELETE", path, "")
	}
	absent("POST", "/v2/sandboxes", `{"templateID":"`+snapshot+`"}`)
	if status, answer := server.callAs(t, key, "DELETE", "/templates/"+snapshot, ""); status != 403 {
		t.Errorf("DELETE of a template by its ID: %d %s, want 403", status, answer)
	}
	for _, path := range []string{"/v2/sandboxes?state=running,paused", "/sandboxes", "/snapshots",
		"/snapshots?sandboxID=" + runs.SandboxID, "/snapshots?name=" + snapshot} {
		if status, answer := server.callAs(t, key, "GET", path, ""); status != 200 ||
			strings.TrimSpace(answer) != "[]" {
			t.Errorf("GET %s: %d %s, want an empty list", path, status, answer)
		}
	}

	if state := server.state(t, runs); state != "running" {
		t.Errorf("the running sandbox is %s", state)
	}
	if now := server.endOf(t, runs); !now.Equal(end) {
		t.Errorf("its end moved from %s to %s", end, now)
	}
	server.read(t, runs, "/dev/shm/mark", "in memory")
	if state := server.state(t, paused); state != "paused" {
		t.Errorf("the paused sandbox is %s", state)
	}
	server.copyOf(t, snapshot)
	server.demand(t, 204, "DELETE", "/templates/"+snapshot, "")
}

// TestForeignTemplates: what another team builds reaches nobody else, whatever its name,
// unless the operator lets the team publish, and then not by the names of shipped templates.
func TestForeignTemplates(t *testing.T) {
	key := otherTeam(t)
	slug := ""
	for line := range strings.Lines(server.demandOutput(t, "team", "list")) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "others-") {
			slug = fields[0] // of the team that was made last
		}
	}
	publish := func(name string) (int, string) {
		return server.callAs(t, key, "PATCH", "/templates/"+name, `{"public":true}`)
	}
	for _, name := range []string{"desktop", "foreign"} {
		status, answer := server.callAs(t, key, "POST", "/v3/templates", `{"name":"`+name+`"}`)
		if status != 202 {
			t.Fatalf("register %s: %d %s", name, status, answer)
		}
		if status, answer := publish(name); status != 403 || !strings.Contains(answer, "template.publish") {
			t.Errorf("publish %s: %d %s", name, status, answer)
		}
	}
	server.demandOutput(t, "team", "publish", slug)
	eventually(t, 20*time.Second, "the right to publish", func() bool {
		status, _ := publish("foreign")
		return status == 200
	})
	if status, answer := publish("desktop"); status != 403 || !strings.Contains(answer, "template.bare_name") {
		t.Errorf("publish desktop: %d %s", status, answer)
	}
	server.refused(t, "template.not_built", "POST", "/v2/sandboxes", `{"templateID":"desktop"}`)
	server.demandOutput(t, "team", "publish", slug, "--revoke")
	for _, name := range []string{"desktop", "foreign"} {
		if status, answer := server.callAs(t, key, "DELETE", "/templates/"+name, ""); status != 204 {
			t.Errorf("delete %s: %d %s", name, status, answer)
		}
	}
}

// demandOutput runs a command of shoal that must succeed.
func (b *box) demandOutput(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.Run(t.Context(), args...)
	if err != nil {
		t.Fatalf("shoal %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}
