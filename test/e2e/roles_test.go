package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

// TestRolesApart runs orchestrator, api and proxy as three processes, and a
// program by the SDK through all of them.
func TestRolesApart(t *testing.T) {
	apart, err := installation.New(repository, "apart", 63)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { apart.Remove() })
	i := &box{apart}
	i.Env = append(i.Env, "SHOAL_NODES="+i.Node)
	for _, role := range []struct{ name, ready string }{
		{"orchestrator", "orchestrator ready"}, {"api", "api ready"}, {"proxy", "proxy ready"},
	} {
		p, err := i.Start(role.name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Stop(syscall.SIGTERM, 30*time.Second); err != nil {
				t.Errorf("%s: %v", role.name, err)
			}
		})
		if err := p.AwaitLine(role.ready, installation.FirstStart); err != nil {
			t.Fatalf("%s: %v", role.name, err)
		}
	}
	t.Cleanup(func() {
		// Runs before the roles are stopped: down ends the orchestrator itself.
		if err := i.Down(); err != nil {
			t.Error(err)
		}
	})
	resp, err := http.Get("http://" + i.Node + "/health")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("the orchestrator's health: %v %v", resp, err)
	}
	resp.Body.Close()
	c := i.create(t)
	out := i.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
s.files.write("f", "through three processes")
print(s.commands.run("cat f").stdout)
import urllib.request
s.commands.run("python3 -m http.server 8000", background=True, timeout=0)
`)
	if !strings.Contains(out, "through three processes") {
		t.Errorf("got %q", out)
	}
	eventually(t, 10*time.Second, "a port of the sandbox answers through both proxies", func() bool {
		req, _ := http.NewRequest("GET", "http://"+i.Proxy+"/f", nil)
		req.Host = "8000-" + c.SandboxID + ".shoal.test"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == 200
	})
}
