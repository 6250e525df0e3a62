package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

// TestRolesApart runs orchestrator, api and proxy as three processes, and an SDK program
// through all of them.
func TestRolesApart(t *testing.T) {
	apart, err := installation.New(repository, "apart", 63)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := apart.Remove(); err != nil {
			t.Error(err)
		}
	})
	i := &box{apart}
	collector, sends := startCollector(t)
	inet := newInternet(t)
	k := &keeper{t: t, secret: newKeptSecret(), api: i.API}
	i.Env = append(append(i.Env, "SHOAL_NODES="+i.Node, "SHOAL_DNS="+inet.Resolver,
		"SHOAL_TRUST_CA="+serveKept(t, inet, k)), sends...)
	roles := map[string]*installation.Process{}
	start := func(role string) {
		t.Helper()
		p, err := i.Start(role)
		if err != nil {
			t.Fatal(err)
		}
		roles[role] = p
		if err := p.AwaitLine(role+" ready", installation.FirstStart); err != nil {
			t.Fatalf("%s: %v", role, err)
		}
	}
	t.Cleanup(func() {
		for role, p := range roles {
			if err := p.Stop(syscall.SIGTERM, 30*time.Second); err != nil {
				t.Errorf("%s: %v", role, err)
			}
		}
	})
	for _, role := range []string{"orchestrator", "api", "proxy"} {
		start(role)
	}
	t.Cleanup(func() {
		// This must run before the roles are stopped: down stops the orchestrator itself.
		if err := i.Down(); err != nil {
			t.Error(err)
		}
	})
	resp, err := http.Get("http://" + i.Node + "/health")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("the orchestrator's health: %v %v", resp, err)
	}
	resp.Body.Close()
	i.checkOperator(t, "orchestrator", "api", "proxy")
	i.checkTrace(t, collector)
	i.checkVolumes(t)
	i.checkFills(t, k)
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
	serves := func() bool {
		req, _ := http.NewRequest("GET", "http://"+i.Proxy+"/f", nil)
		req.Host = "8000-" + c.SandboxID + ".shoal.test"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == 200
	}
	eventually(t, 10*time.Second, "a port of the sandbox answers through both proxies", serves)

	// Stopping the api or the proxy affects neither sandboxes nor the other roles.
	paused := i.create(t)
	i.write(t, paused, "/dev/shm/mark", "in memory")
	i.demand(t, 204, "POST", "/sandboxes/"+paused.SandboxID+"/pause", `{}`)
	end := i.endOf(t, c)
	roles["api"].Kill()
	if !serves() {
		t.Error("no traffic without the api")
	}
	i.read(t, c, "/home/user/f", "through three processes")
	start("api")
	if now := i.endOf(t, c); !now.Equal(end) {
		t.Errorf("the new api moved the end from %s to %s", end, now)
	}
	roles["proxy"].Kill()
	if serves() {
		t.Error("traffic without a proxy")
	}
	if err := c.healthy(10 * time.Second); err != nil {
		t.Errorf("without the proxy: %v", err)
	}
	i.demand(t, 201, "POST", "/sandboxes/"+paused.SandboxID+"/connect", `{"timeout":300}`)
	start("proxy")
	if !serves() {
		t.Error("no traffic through the new proxy")
	}
	i.read(t, paused, "/dev/shm/mark", "in memory")
}
