package e2e

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"shoal/internal/envdapi/client"
	"shoal/test/installation"
)

// transformed is a rule that makes a sandbox have an authority.
const transformed = `{"api.example.com":[{"transform":{"headers":{"X-Key":"value"}}}]}`

// authorityOf is a sandbox's authority with its key; empty if it has none.
func (b *box) authorityOf(t *testing.T, c created) string {
	t.Helper()
	authority, err := b.AuthorityOf(c.SandboxID)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// vouched is the key and the certificate of a name, by an authority (PEM).
func vouched(t *testing.T, authority, name string) string {
	t.Helper()
	pair, err := installation.Vouched(authority, name)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// sh runs a command line of root's in a sandbox.
func sh(t *testing.T, c created, line string) (string, error) {
	t.Helper()
	address, err := url.Parse(c.EnvdURL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := client.New(address.Hostname(), c.EnvdAccessToken).Text(ctx,
		client.Command{User: "root", Args: client.Shell(line)})
	return strings.TrimSpace(out), err
}

// tlsServer answers on a port of the guest's loopback as api.example.com.
const tlsServer = `
import http.server, ssl
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), H)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain("/tmp/server.pem")
s.socket = c.wrap_socket(s.socket, server_side=True)
s.serve_forever()
`

// programs each ask the server, and print hello or end well only if they trust it.
var programs = []struct{ name, line string }{
	{"curl", `curl -sf https://api.example.com:8443/`},
	{"curl", `env -i curl -sf https://api.example.com:8443/`},
	{"openssl", `openssl s_client -verify_return_error -connect api.example.com:8443 -servername api.example.com </dev/null >/dev/null 2>&1 && echo hello`},
	{"openssl", `env -i PATH=$PATH openssl s_client -verify_return_error -no-CAfile -CApath /etc/ssl/certs -connect api.example.com:8443 -servername api.example.com </dev/null >/dev/null 2>&1 && echo hello`},
	{"python3", `python3 -c "import urllib.request as u; print(u.urlopen('https://api.example.com:8443/').read().decode())"`},
	{"python3", `env -i PATH=$PATH python3 -c "import urllib.request as u; print(u.urlopen('https://api.example.com:8443/').read().decode())"`},
	{"python3", `python3 -c 'import requests' 2>/dev/null || { echo hello; exit; }; python3 -c "import requests; print(requests.get('https://api.example.com:8443/').text)"`},
	{"node", `node -e "fetch('https://api.example.com:8443/').then(r => r.text()).then(console.log)"`},
	{"git", `GIT_CURL_VERBOSE=1 git ls-remote https://api.example.com:8443/x 2>&1 | grep -q 'HTTP/1.[01] 200' && echo hello`},
	{"sudo", `su user -c 'sudo node -e "fetch(\"https://api.example.com:8443/\").then(r => r.text()).then(console.log)"'`},
	{"deno", `deno eval "console.log(await (await fetch('https://api.example.com:8443/')).text())"`},
	{"java", `printf 'class A { public static void main(String[] a) throws Exception { System.out.println(new String(new java.net.URL("https://api.example.com:8443/").openStream().readAllBytes())); } }' > /tmp/A.java && java /tmp/A.java 2>/dev/null`},
}

// trusts checks that programs of a sandbox trust what its authority vouches for.
func (b *box) trusts(t *testing.T, c created) {
	t.Helper()
	for path, text := range map[string]string{"/tmp/server.pem": vouched(t, b.authorityOf(t, c), "api.example.com"), "/tmp/server.py": tlsServer} {
		b.write(t, c, path, text)
	}
	if out, err := sh(t, c, `grep -q api.example.com /etc/hosts || echo 127.0.0.1 api.example.com >> /etc/hosts
if old=$(cat /tmp/server.pid 2>/dev/null); then kill $old; for n in $(seq 100); do kill -0 $old 2>/dev/null || break; sleep 0.1; done; fi
nohup python3 /tmp/server.py >/tmp/server.log 2>&1 & echo $! > /tmp/server.pid
for n in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/8443) 2>/dev/null && exit; sleep 0.1; done; cat /tmp/server.log; exit 1`); err != nil {
		t.Fatalf("the server in the guest: %v %s", err, out)
	}
	for _, p := range programs {
		if _, err := sh(t, c, "command -v "+p.name); err != nil {
			t.Logf("%s is not there", p.name)
			continue
		}
		if out, err := sh(t, c, p.line); err != nil || out != "hello" {
			t.Errorf("%s: %q %v", p.line, out, err)
		}
	}
}

// authorities is how many of sandboxes' a guest trusts, in the bundle and in files of its own.
const authorities = `openssl crl2pkcs7 -nocrl -certfile /etc/ssl/certs/ca-certificates.crt | openssl pkcs7 -print_certs -noout | grep -c '^subject=.*Transforms of sandbox'; ls /usr/local/share/ca-certificates/e2b-ca.crt /etc/chromium/policies/managed/shoal-authority.json /etc/ssl/certs/shoal-java.jks /etc/sudoers.d/shoal-authority /etc/ssl/certs/shoal-environment 2>/dev/null | wc -l; env | grep -c ^JAVA_TOOL_OPTIONS`

func (b *box) hasAuthorities(t *testing.T, c created, want string) {
	t.Helper()
	eventually(t, 10*time.Second, "the guest's trust is "+want, func() bool {
		out, _ := sh(t, c, authorities+"; true")
		return strings.Join(strings.Fields(out), " ") == want
	})
}

// TestAuthorities: programs of sandboxes with transforms, and of those alone, trust the sandbox's
// own authority; it stays through a pause, and no copy
// or fork of the sandbox has it: those with transforms have one of their own.
func TestAuthorities(t *testing.T) {
	const none, one = "0 0 0", "1 5 1"
	c := server.createWith(t, `{"templateID":"base","timeout":300,"network":{"rules":`+transformed+`}}`)
	server.hasAuthorities(t, c, one)
	server.trusts(t, c)
	own := server.authorityOf(t, c)

	later := server.create(t)
	server.hasAuthorities(t, later, none)
	if server.authorityOf(t, later) != "" {
		t.Error("a sandbox without transforms has an authority")
	}
	server.demand(t, 204, "PUT", "/sandboxes/"+later.SandboxID+"/network", `{"rules":`+transformed+`}`)
	server.hasAuthorities(t, later, one)
	server.trusts(t, later)

	if out, err := sh(t, c, "update-ca-certificates 2>&1"); err != nil {
		t.Errorf("update-ca-certificates: %v %s", err, out)
	}
	server.hasAuthorities(t, c, one)

	var made struct{ SnapshotID string }
	if err := json.Unmarshal([]byte(server.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/snapshots", `{}`)), &made); err != nil {
		t.Fatal(err)
	}
	without := server.createOf(t, made.SnapshotID)
	server.hasAuthorities(t, without, none)
	with := server.createWith(t, `{"templateID":"`+made.SnapshotID+`","timeout":300,"network":{"rules":`+transformed+`}}`)
	server.hasAuthorities(t, with, one)
	if server.authorityOf(t, with) == own {
		t.Error("a copy has the authority of its original")
	}
	server.trusts(t, with)

	var forks []struct{ Sandbox created }
	if err := json.Unmarshal([]byte(server.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/fork", `{"timeout":300}`)), &forks); err != nil {
		t.Fatal(err)
	}
	fork := forks[0].Sandbox
	t.Cleanup(func() { server.call(t, "DELETE", "/sandboxes/"+fork.SandboxID, "") })
	server.hasAuthorities(t, fork, one)
	if forked := server.authorityOf(t, fork); forked == own || forked == "" {
		t.Error("a fork has the authority of its original, or none")
	}
	server.trusts(t, fork)
	if server.authorityOf(t, c) != own {
		t.Error("a fork has changed the authority of its original")
	}

	server.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", "")
	var back created
	if err := json.Unmarshal([]byte(server.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/connect", `{"timeout":300}`)), &back); err != nil {
		t.Fatal(err)
	}
	if server.authorityOf(t, back) != own {
		t.Error("the authority changed through a pause")
	}
	server.hasAuthorities(t, back, one)
	server.trusts(t, back)
}
