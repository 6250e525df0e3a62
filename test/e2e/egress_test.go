package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// internet creates a namespace behind the host, with a public address and a web server.
func internet(t *testing.T) (address string) {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", "e2e-inet")
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "e2e-inet").Run() })
	ip("link", "add", "e2e-i0", "type", "veth", "peer", "name", "eth0", "netns", "e2e-inet")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "e2e-i0").Run() })
	ip("addr", "add", "198.51.100.254/24", "dev", "e2e-i0")
	ip("link", "set", "e2e-i0", "up")
	ip("-n", "e2e-inet", "addr", "add", "198.51.100.1/24", "dev", "eth0")
	ip("-n", "e2e-inet", "link", "set", "eth0", "up")
	server := exec.Command("ip", "netns", "exec", "e2e-inet", "python3", "-m", "http.server", "80",
		"--directory", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	eventually(t, 10*time.Second, "the web server answers the host", func() bool {
		conn, err := net.DialTimeout("tcp", "198.51.100.1:80", time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "198.51.100.1"
}

// reach says whether a sandbox must be able to reach an address.
type reach struct {
	from    created
	want    bool
	address string
}

// reach checks what guests can reach, all at once.
func (b *box) reach(t *testing.T, all ...reach) {
	t.Helper()
	var asked strings.Builder
	for _, r := range all {
		limit := 1 // for what must be blocked
		if r.want {
			limit = 15
		}
		fmt.Fprintf(&asked, "(%q, %q, %d),", r.from.SandboxID, r.address, limit)
	}
	out := b.python(t, `
from concurrent.futures import ThreadPoolExecutor
from e2b import Sandbox
def ask(q):
    curl = f"curl -s -o /dev/null --connect-timeout {q[2]} -m {2 * q[2]} http://{q[1]}"
    return Sandbox.connect(q[0]).commands.run(curl + " && echo reached || echo blocked").stdout.strip()
with ThreadPoolExecutor(8) as pool: print(*pool.map(ask, [`+asked.String()+`]))
`)
	answers := strings.Fields(out)
	if len(answers) != len(all) {
		t.Fatalf("%d answers for %d questions: %q", len(answers), len(all), out)
	}
	for i, r := range all {
		if got := answers[i] == "reached"; got != r.want {
			t.Errorf("%s, %s: reached = %v, want %v", r.from.SandboxID, r.address, got, r.want)
		}
	}
}

// reaches checks what one guest can reach.
func (b *box) reaches(t *testing.T, c created, want bool, addresses ...string) {
	t.Helper()
	var all []reach
	for _, a := range addresses {
		all = append(all, reach{c, want, a})
	}
	b.reach(t, all...)
}

// TestEgress checks what real guests can reach, before and after a change.
func TestEgress(t *testing.T) {
	inet := internet(t)
	host, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	hostServer := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = hostServer.Serve(host) }()
	defer hostServer.Close()
	_, port, _ := net.SplitHostPort(host.Addr().String())
	neighbor := server.create(t)
	neighborHost := strings.TrimPrefix(neighbor.EnvdURL, "http://")

	boot := func(network string) created {
		t.Helper()
		return server.createWith(t, `{"templateID":"base"`+network+`}`)
	}
	open := boot("")
	server.reaches(t, open, true, inet)
	server.reaches(t, open, false, "198.51.100.254:"+port, "10.61.0.1:"+port, neighborHost,
		"169.254.169.254", "169.254.0.22:"+port)
	if out := server.python(t, `
from e2b import Sandbox
print(Sandbox.connect("`+open.SandboxID+`").commands.run("curl -s http://192.0.2.1/me; curl -s http://events.e2b.local/me").stdout)
`); strings.Count(out, open.SandboxID) != 2 {
		t.Errorf("who am I: %q", out)
	}
	shut := boot(`,"allow_internet_access":false`)
	listed := boot(`,"network":{"denyOut":["0.0.0.0/0"],"allowOut":["` + inet + `"]}`)
	server.reach(t, reach{shut, false, inet}, reach{listed, true, inet})

	for policy, want := range map[string]bool{`{"denyOut":["` + inet + `"]}`: false, `{}`: true,
		`{"allow_internet_access":false}`: false} {
		if status, body := server.call(t, "PUT", "/sandboxes/"+open.SandboxID+"/network",
			policy); status != 204 {
			t.Fatalf("PUT %s: %d %s", policy, status, body)
		}
		server.reaches(t, open, want, inet)
		// Open again for the next round, whatever the order.
		server.call(t, "PUT", "/sandboxes/"+open.SandboxID+"/network", `{"allow_internet_access":true}`)
	}

	// Each rule holds in the next guest of the sandbox, with memory and without, and in its
	// copies; so does a change by PUT.
	put := func(c created, policy string) {
		t.Helper()
		server.demand(t, 204, "PUT", "/sandboxes/"+c.SandboxID+"/network", policy)
	}
	put(open, `{"denyOut":["`+inet+`"]}`)
	for _, memory := range []string{`{}`, `{"memory":false}`} {
		for _, c := range []created{shut, listed, open} {
			server.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", memory)
			server.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/connect", `{"timeout":300}`)
		}
		server.reach(t, reach{shut, false, inet}, reach{listed, true, inet},
			reach{listed, false, "198.51.100.254:" + port}, reach{open, false, inet})
	}
	var copies []reach
	for _, c := range []created{shut, open} {
		var forks []struct{ Sandbox created }
		if err := json.Unmarshal([]byte(server.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/fork",
			`{}`)), &forks); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.call(t, "DELETE", "/sandboxes/"+forks[0].Sandbox.SandboxID, "") })
		copies = append(copies, reach{forks[0].Sandbox, false, inet})
	}
	server.reach(t, copies...)
	put(open, `{}`)
	put(shut, `{"denyOut":[]}`) // which does not allow it to reach the internet
	server.reach(t, reach{open, true, inet}, reach{shut, false, inet})
	put(shut, `{"allow_internet_access":true}`)
	server.reaches(t, shut, true, inet)

	out := server.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+open.SandboxID+`")
def ask(limit):
    r = s.commands.run(f"curl -s -o /dev/null --connect-timeout {limit} -m {2 * limit} http://`+inet+` && echo reached || echo blocked")
    print(r.stdout.strip())
ask(15)
s.update_network({"deny_out": ["`+inet+`"]})
ask(1)
s.update_network({})
ask(15)
s.update_network({"deny_out": ["198.51.100.0/24"]})
ask(1)
s.update_network({"deny_out": ["198.51.100.0/24"], "allow_out": ["`+inet+`"]})
ask(15)
`)
	if got := strings.Fields(out); strings.Join(got, " ") != "reached blocked reached blocked reached" {
		t.Errorf("after the SDK's updates: %v", got)
	}
}

// TestRequestIDs follows an ID from the client's call to the answer and the log.
func TestRequestIDs(t *testing.T) {
	req, _ := http.NewRequest("GET", "http://"+server.API+"/sandboxes/inotthere00000000000a", nil)
	req.Header.Set("X-API-Key", "e2b_53ae1fed82754c17ad8077fbc8bcdd90")
	req.Header.Set("X-Request-Id", "follow-me-1234")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"code", "message", "error_code", "cause", "fix", "requestId"} {
		if body[field] == nil {
			t.Errorf("the answer lacks %s: %v", field, body)
		}
	}
	id, _ := body["requestId"].(string)
	if id == "" || resp.Header.Get("X-Request-Id") != id || resp.Header.Get("X-E2B-Trace-ID") != id {
		t.Errorf("IDs differ: body %q, headers %q %q", id, resp.Header.Get("X-Request-Id"),
			resp.Header.Get("X-E2B-Trace-ID"))
	}
	eventually(t, 5*time.Second, "the ID is in the log", func() bool {
		log := up.Output()
		return strings.Contains(log, id)
	})
}
