package e2e

import (
	"context"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRolesApart runs orchestrator, api and proxy as three processes, and a
// program by the SDK through all of them.
func TestRolesApart(t *testing.T) {
	dir := publicTempDir(t)
	i, err := newInstallation(dir)
	if err != nil {
		t.Fatal(err)
	}
	i.env = append(i.env, "SHOAL_INSTANCE=apart", "SHOAL_HOST_CIDR=10.63.0.0/16", "SHOAL_VETH_CIDR=10.64.0.0/16", "SHOAL_NODES="+i.node)
	for _, role := range []struct{ name, ready string }{
		{"orchestrator", "orchestrator ready"}, {"api", "api ready"}, {"proxy", "proxy ready"},
	} {
		p, err := i.shoal(role.name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.stop(syscall.SIGTERM, 30*time.Second); err != nil {
				t.Errorf("%s: %v", role.name, err)
			}
		})
		if err := p.awaitLine(role.ready, firstStart); err != nil {
			t.Fatalf("%s: %v", role.name, err)
		}
	}
	t.Cleanup(func() {
		// Runs before the roles are stopped: down ends the orchestrator itself.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := i.run(ctx, "down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	resp, err := http.Get("http://" + i.node + "/health")
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
		req, _ := http.NewRequest("GET", "http://"+i.proxy+"/f", nil)
		req.Host = "8000-" + c.SandboxID + ".shoal.test"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// publicTempDir is a temporary directory that sandbox kernels, which run as
// nobody, can reach.
func publicTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "shoal-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
