package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// asTeam is the head of a program that calls by a team's key.
const asTeam = `
import json, os
os.environ["E2B_API_KEY"] = %q
from e2b import Sandbox
`

// ask sends a request without any header, as somebody does who was given a URL.
func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestSignedURLSwitch: URLs that the SDK has signed are refused and served as the operator switches,
// while the sandbox runs, and nothing else is refused.
func TestSignedURLSwitch(t *testing.T) {
	server.demandOutput(t, "team", "create", "signers")
	key := strings.TrimSpace(server.demandOutput(t, "key", "create", "for-urls", "--team=signers"))
	var made struct{ ID, Down, Up string }
	out := server.python(t, fmt.Sprintf(asTeam, key)+`
s = Sandbox.create(timeout=600)
s.files.write("a.txt", "by signature")
print(json.dumps({"id": s.sandbox_id, "down": s.download_url("a.txt"), "up": s.upload_url("b.txt")}))
`)
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer server.callAs(t, key, "DELETE", "/sandboxes/"+made.ID, "")
	serves := func() {
		t.Helper()
		eventually(t, 20*time.Second, "the file by its URL", func() bool {
			status, text := ask(t, "GET", made.Down, "")
			return status == 200 && text == "by signature"
		})
		if status, text := ask(t, "POST", made.Up, "uploaded"); status != 200 {
			t.Errorf("%d %s", status, text)
		}
	}
	serves()
	server.demandOutput(t, "switch", "off", "signed-urls", "--team=signers")
	eventually(t, 20*time.Second, "a refusal of the URL", func() bool {
		status, _ := ask(t, "GET", made.Down, "")
		return status == 403
	})
	for method, url := range map[string]string{"GET": made.Down, "POST": made.Up} {
		status, text := ask(t, method, url, "not to be written")
		var body struct {
			Code      int
			Reason    string
			SandboxID string
		}
		if err := json.Unmarshal([]byte(text), &body); err != nil || status != 403 || body.Code != 403 ||
			body.Reason != "feature.switched_off" || body.SandboxID != made.ID {
			t.Errorf("%s: %d %s", method, status, text)
		}
	}
	// The sandbox's token goes on, and another team's URLs do.
	if out := server.python(t, fmt.Sprintf(asTeam, key)+fmt.Sprintf(`
s = Sandbox.connect(%q)
print(s.files.read("a.txt"), s.files.read("b.txt"))
`, made.ID)); strings.TrimSpace(out) != "by signature uploaded" {
		t.Error(out)
	}
	other := server.create(t)
	server.write(t, other, "/home/user/a.txt", "another's")
	out = server.python(t, fmt.Sprintf("from e2b import Sandbox\nprint(Sandbox.connect(%q).download_url(\"a.txt\"))", other.SandboxID))
	if status, text := ask(t, "GET", strings.TrimSpace(out), ""); status != 200 || text != "another's" {
		t.Errorf("another team's: %d %s", status, text)
	}
	server.demandOutput(t, "switch", "reset", "signed-urls", "--team=signers")
	serves()
}
