package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestPeople: what an operator does for a user by the command line counts in the API that runs,
// and the user's key makes sandboxes for as long as their role allows it.
func TestPeople(t *testing.T) {
	shoal := func(args ...string) string {
		t.Helper()
		out, err := server.Run(t.Context(), args...)
		if err != nil {
			t.Fatalf("shoal %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(out)
	}
	const ann = "ann@example.com"
	shoal("team", "create", "crew")
	shoal("user", "create", ann)
	shoal("team", "admit", "crew", ann, "--role=developer")
	token := shoal("user", "token", "create", ann)

	status, answer, err := server.CallWith(t.Context(), map[string]string{"Authorization": "Bearer " + token}, "GET", "/teams", "")
	var teams []struct {
		APIKey    string `json:"apiKey"`
		IsDefault bool   `json:"isDefault"`
	}
	if err != nil || status != 200 || json.Unmarshal(answer, &teams) != nil || len(teams) != 1 || !teams[0].IsDefault {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	key := teams[0].APIKey
	status, body := server.callAs(t, key, "POST", "/v2/sandboxes", `{"templateID":"base"}`)
	var c created
	if status != 201 || json.Unmarshal([]byte(body), &c) != nil {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := server.callAs(t, key, "DELETE", "/sandboxes/"+c.SandboxID, ""); status != 204 {
		t.Errorf("%d %s", status, body)
	}
	// So do its tier and what is switched off for it.
	refuses := func(what string, status int, path, body string) {
		t.Helper()
		eventually(t, 5*time.Second, what, func() bool {
			got, _ := server.callAs(t, key, "POST", path, body)
			return got == status
		})
	}
	const long = `{"templateID":"nothing","timeout":7200}`
	refuses("a template that is not there", 404, "/v2/sandboxes", long)
	shoal("tier", "add", "short", "--max-hours=1")
	shoal("team", "limits", "crew", "--tier=short")
	refuses("the tier's time", 400, "/v2/sandboxes", long)
	shoal("tier", "change", "short", "--max-hours=2")
	refuses("the tier's new time", 404, "/v2/sandboxes", long)
	shoal("team", "limits", "crew", "--tier=default")
	shoal("tier", "remove", "short")
	refuses("a sandbox that is not there", 404, "/sandboxes/nothing/fork", `{}`)
	shoal("switch", "off", "forks", "--team=crew")
	refuses("forks that are off", 403, "/sandboxes/nothing/fork", `{}`)
	shoal("switch", "reset", "forks", "--team=crew")
	shoal("team", "admit", "crew", ann, "--role=viewer")
	eventually(t, 5*time.Second, "the end of the former role's key", func() bool {
		status, _ := server.callAs(t, key, "GET", "/v2/sandboxes", "")
		return status == 401
	})
	// The log tells what the operator did and what the key did, once it is written.
	eventually(t, 10*time.Second, "the audit log", func() bool {
		log := shoal("audit", "export", "--team=crew")
		return strings.Contains(log, `"operation":"shoal team admit"`) &&
			strings.Contains(log, `"target":{"id":"`+c.SandboxID+`","kind":"sandbox"}`) && !strings.Contains(log, key)
	})
	// A link lets the user in by a browser.
	link := shoal("user", "invite", ann)
	if _, secret, ok := strings.Cut(link, "/welcome?link="); !ok {
		t.Errorf("no link: %s", link)
	} else if status, page := server.callAs(t, "", "GET", "/welcome?link="+secret, ""); status != 200 || !strings.Contains(page, ann) {
		t.Errorf("%d %s", status, page)
	}
	shoal("user", "rm", ann)
}
