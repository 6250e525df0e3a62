package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// impostor is a program that takes the daemon's place in a guest. It answers the paths in
// redirects with a redirect to the given address, starts of commands with the announcement
// of 2 GB, and the rest as if all were well. /asked tells how often it was asked for metrics.
func impostor(address string, redirects ...string) string {
	paths, _ := json.Marshal(redirects) // strings always encode
	return `#!/usr/bin/python3
import http.server, struct
asked = 0
class Impostor(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def say(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        global asked
        path = self.path.split("?")[0]
        asked += path == "/metrics"
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path in ` + string(paths) + `:
            self.send_response(307)
            self.send_header("Location", "http://` + address + `" + path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/process.Process/Start":
            self.send_response(200)
            self.send_header("Content-Type", "application/connect+proto")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"\0" + struct.pack("!I", 2_000_000_000))
            for _ in range(1900):
                self.wfile.write(b"A" * (1 << 20))
        elif path == "/metrics":
            self.say(b'{"cpu_count":4242,"cpu_used_pct":1,"mem_total":31337,"mem_used":99999}')
        elif path == "/asked":
            self.say(str(asked).encode())
        else:
            self.send_response(204)
            self.end_headers()
    do_POST = do_GET
http.server.ThreadingHTTPServer(("0.0.0.0", 49983), Impostor).serve_forever()
`
}

// replace is a shell command of root that puts a program in the daemon's place. It answers
// from the next boot on.
func replace(program string) string {
	return "echo " + base64.StdEncoding.EncodeToString([]byte(program)) +
		" | base64 -d > /usr/bin/other && chmod 755 /usr/bin/other && mv /usr/bin/other /usr/bin/envd"
}

// internalService listens on the host's loopback, where no guest's word may lead the host.
func internalService(t *testing.T) (address string, visits *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	visits = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended })
	return listener.Addr().String(), visits
}

// reboot has a sandbox boot again from its disk, which has an impostor.
func reboot(t *testing.T, c created, program string) (status int, answer string) {
	t.Helper()
	server.python(t, fmt.Sprintf(`
from e2b import Sandbox
Sandbox.connect(%q).commands.run(%q, user="root")
`, c.SandboxID, replace(program)))
	server.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", `{"memory":false}`)
	return server.call(t, "POST", "/sandboxes/"+c.SandboxID+"/connect", `{"timeout":100}`)
}

// TestHostileDaemon: a guest whose daemon was replaced sends the host nowhere, neither with
// the tenant's environment nor for metrics, and its numbers are not shown.
func TestHostileDaemon(t *testing.T) {
	address, visits := internalService(t)
	t.Run("daemons", func(t *testing.T) { // returns when all of them are done
		t.Run("of a start", func(t *testing.T) {
			t.Parallel()
			c := server.createWith(t, `{"templateID":"base","timeout":300,"envVars":{"SECRET":"of the tenant"}}`)
			status, body := reboot(t, c, impostor(address, "/init", "/health"))
			if status != 500 || !strings.Contains(body, `"sandbox.envd_answer"`) || !strings.Contains(body, "a redirect") {
				t.Errorf("a redirected /init: %d %s", status, body)
			}
		})
		for name, path := range map[string]string{"with metrics elsewhere": "/metrics", "with metrics": "/nothing"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				hostileMetrics(t, impostor(address, path))
			})
		}
	})
	if n := visits.Load(); n != 0 {
		t.Errorf("the host connected %d times to where a guest sent it", n)
	}
	server.create(t)
}

// hostileMetrics has an impostor asked for metrics twice: what came of the first is known then.
func hostileMetrics(t *testing.T, program string) {
	t.Helper()
	c := server.create(t)
	if status, body := reboot(t, c, program); status/100 != 2 {
		t.Fatalf("an impostor that answers /init well: %d %s", status, body)
	}
	eventually(t, time.Minute, "the host asks an impostor for metrics, twice", func() bool {
		_, asked, err := server.Envd(t.Context(), c.SandboxID, "", "GET", "/asked", nil)
		n, notNumber := strconv.Atoi(string(asked))
		return err == nil && notNumber == nil && n >= 2
	})
	body := server.demand(t, 200, "GET", "/sandboxes/"+c.SandboxID+"/metrics", "")
	if strings.Contains(body, "4242") {
		t.Errorf("the impostor's metrics are shown: %s", body)
	}
}

// TestHostileDaemonOfATemplate: a build on it fails with what its daemon answered, and costs
// the host little memory.
func TestHostileDaemonOfATemplate(t *testing.T) {
	address, visits := internalService(t)
	build := func(name, from, step string) string {
		var at struct{ TemplateID, BuildID string }
		answer := server.demand(t, 202, "POST", "/v3/templates", `{"name":"`+name+`"}`)
		if err := json.Unmarshal([]byte(answer), &at); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.call(t, "DELETE", "/templates/"+at.TemplateID, "") })
		path := "/templates/" + at.TemplateID + "/builds/" + at.BuildID
		request, err := json.Marshal(map[string]any{"fromTemplate": from,
			"steps": []any{map[string]any{"type": "RUN", "args": []string{step, "root"}}}})
		if err != nil {
			t.Fatal(err)
		}
		server.demand(t, 202, "POST", "/v2"+path, string(request))
		var status string
		eventually(t, 2*time.Minute, "the end of build "+name, func() bool {
			status = server.demand(t, 200, "GET", path+"/status", "")
			return strings.Contains(status, `"status":"ready"`) || strings.Contains(status, `"status":"error"`)
		})
		return status
	}
	if status := build("impostor", "base", replace(impostor(address, "/nothing"))); !strings.Contains(status, `"ready"`) {
		t.Fatalf("the template with an impostor: %s", status)
	}
	before := peak(t, up.PID())
	status := build("on-impostor", "impostor", "true")
	if !strings.Contains(status, `"status":"error"`) || !strings.Contains(status, "a message of 2000000000 bytes") {
		t.Errorf("a build on an impostor: %s", status)
	}
	if grown := peak(t, up.PID()) - before; grown > 256 {
		t.Errorf("shoal's memory grew by %d MiB", grown)
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("the host connected %d times to where a guest sent it", n)
	}
}

// peak is the most memory that a process had so far, in MiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatal("the system does not tell the peak of a process's memory")
	return 0
}
