package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkVolumes: what a client writes by the api is in a sandbox of the orchestrator, and the other way. A
// machine that does not have the volume is told from one that fails.
func (i *box) checkVolumes(t *testing.T) {
	t.Helper()
	var v struct {
		ID    string `json:"volumeID"`
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(i.demand(t, 201, "POST", "/volumes", `{"name":"apart"}`)), &v); err != nil {
		t.Fatal(err)
	}
	content := func(want int, method, file, body string) string {
		t.Helper()
		status, data, err := i.CallWith(context.Background(), map[string]string{"Authorization": "Bearer " + v.Token},
			method, "/volumecontent/"+v.ID+"/file?path=/"+file, body)
		if err != nil || status != want {
			t.Fatalf("%s the volume's %s: %d %s %v", method, file, status, data, err)
		}
		return string(data)
	}
	content(201, "PUT", "sent", "by a client")
	const request = `{"templateID":"base","timeout":300,"volumeMounts":[{"name":"apart","path":"/v"}]}`
	c := i.createWith(t, request)
	i.read(t, c, "/v/sent", "by a client")
	i.write(t, c, "/v/written", "by a sandbox")
	if got := content(200, "GET", "written", ""); got != "by a sandbox" {
		t.Errorf("a client reads %q", got)
	}
	i.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", `{}`)
	i.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/connect", `{"timeout":300}`)
	i.read(t, c, "/v/sent", "by a client")
	i.demand(t, 204, "DELETE", "/sandboxes/"+c.SandboxID, "")

	dirs, err := filepath.Glob(filepath.Join(i.DataDir, "volumes", "team-*", "vol-"+v.ID))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the volume is in %v %v", dirs, err)
	}
	if err := os.Rename(dirs[0], dirs[0]+".away"); err != nil {
		t.Fatal(err)
	}
	refusal := i.demand(t, 503, "POST", "/sandboxes", request)
	if !strings.Contains(refusal, "volume.unavailable") { // with the path as cause, as the operator asks
		t.Errorf("without its file system: %s", refusal)
	}
	if err := os.Rename(dirs[0]+".away", dirs[0]); err != nil {
		t.Fatal(err)
	}
	c = i.createWith(t, request)
	i.read(t, c, "/v/sent", "by a client")
	i.demand(t, 204, "DELETE", "/sandboxes/"+c.SandboxID, "")
	i.demand(t, 204, "DELETE", "/volumes/"+v.ID, "")
}
