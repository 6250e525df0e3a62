package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/freeport"
	"shoal/internal/shoal"
	"shoal/test/installation"
)

// TestDomain reaches an installation by its domain and a key alone, as E2B itself is reached:
// with the newest SDKs and those of 1.x, the CLI and a browser.
func TestDomain(t *testing.T) {
	r := another(t, "dom", nil, "SHOAL_TLS=local", fmt.Sprint("SHOAL_TLS_LISTEN=localhost:", freeport.Of(t)))
	d := domainOf(t, r, filepath.Join(r.DataDir, "authority", "sandbox.localhost", "ca.crt"))
	t.Run("names", d.names)
	clients := map[string]func(*testing.T){
		"JavaScript": func(t *testing.T) {
			d.runs(t, "../js", "node", "--test", "--test-timeout=300000", "--test-force-exit", "domain/sdk.test.mjs")
		},
		"CLI": func(t *testing.T) {
			d.runs(t, "../js", "node_modules/.bin/e2b", "sandbox", "list", "--format", "json")
			d.runs(t, "../js", "node_modules/.bin/e2b", "template", "list", "--format", "json")
		},
		"trust":    d.trust,
		"Chromium": d.chromium,
	}
	for version := range pythons {
		clients["Python "+version] = func(t *testing.T) { d.python(t, version, "domain") }
	}
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client(t)
		})
	}
}

// domain is an installation as clients reach it by its domain.
type domain struct {
	*running
	name, authority string
	env             []string
}

func domainOf(t *testing.T, r *running, authority string) domain {
	t.Helper()
	d := domain{running: r, authority: authority}
	for _, line := range strings.Split(r.process.Output(), "\n") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "export E2B_DOMAIN="); ok {
			d.name = value
		}
	}
	if d.name == "" {
		t.Fatalf("no domain was printed:\n%s", r.process.Tail())
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "E2B_") {
			d.env = append(d.env, e)
		}
	}
	d.env = append(d.env, "E2B_DOMAIN="+d.name, "E2B_API_KEY="+shoal.DevAPIKey,
		"NODE_EXTRA_CA_CERTS="+d.authority, "SSL_CERT_FILE="+d.authority, "SSL_CERT_DIR=/nonexistent")
	return d
}

func (d domain) with(env ...string) domain {
	d.env = append(d.env[:len(d.env):len(d.env)], env...)
	return d
}

func (d domain) runs(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, d.env, 5*time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// pythons are the environments with the Python SDK, by its version.
var pythons = map[string]string{"2": ".venv", "1.11": ".venv1"}

// python runs tests by the Python SDK.
func (d domain) python(t *testing.T, version string, tests ...string) {
	t.Helper()
	python, err := filepath.Abs("../python/" + pythons[version] + "/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	d.with("SDK="+version).runs(t, "../python", python, installation.PythonTests(tests...)...)
}

// names asks for names of the domain and others.
func (d domain) names(t *testing.T) {
	pem, err := os.ReadFile(d.authority)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(filepath.Dir(d.authority), "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key: %v %v", info, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		}}}
	for _, c := range []struct {
		host, path string
		want       int
	}{
		{"", "/health", 404},
		{"api.", "/health", 200},
		{"API.", "/health", 200},
		{"api.", "/sandboxes", 401},
		{"49983-inotthere00000000000a.", "/health", 502},
		{"sandbox.", "/", 400},
		{"www.", "/", 404},
	} {
		resp, err := client.Get("https://" + c.host + d.name + c.path)
		if err != nil {
			t.Errorf("%s%s: %v", c.host, c.path, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != c.want || resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s%s: %s %s %v", c.host, c.path, resp.Proto, resp.Status, resp.Header)
		}
	}
	// A page whose name leads here is not the API (DNS rebinding).
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://api."+d.name+"/sandboxes", nil)
	req.Host = "evil.example"
	req.Header.Set("X-API-Key", shoal.DevAPIKey)
	if resp, err := client.Do(req); err != nil || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name: %v %v", resp, err)
	}
}

// trust lets a machine trust the authority and no more: it sees stores of its own instead of
// this machine's.
func (d domain) trust(t *testing.T) {
	dir := t.TempDir()
	script := `set -e
cp -a /etc/ssl/certs "$1/certs"; mkdir "$1/added" "$1/home"
mount --bind "$1/certs" /etc/ssl/certs; mount --bind "$1/added" /usr/local/share/ca-certificates
unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE
try() { curl -sS -o /dev/null -w '%{http_code}\n' "https://api.$E2B_DOMAIN/health" 2>&1 || true; }
try
"$2" trust --print | openssl x509 -noout -ext nameConstraints
"$2" trust; try
certutil -L -d "sql:$HOME/.pki/nssdb"
"$2" trust --remove; try
certutil -L -d "sql:$HOME/.pki/nssdb" | grep -c Shoal || true`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", script, "sh", dir, d.Binary)
	cmd.Env = append(d.Env, "E2B_DOMAIN="+d.name, "HOME="+filepath.Join(dir, "home"), "SUDO_USER=")
	data, err := cmd.CombinedOutput()
	out := string(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"certificate problem", "DNS:sandbox.localhost", "Shoal for sandbox.localhost", "C,,"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Count(out, "\n200\n") != 1 || strings.Count(out, "certificate problem") != 2 || !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("not trusted in between, or still after:\n%s", out)
	}
}

// chromium opens a page of a sandbox.
func (d domain) chromium(t *testing.T) {
	home := t.TempDir()
	db := filepath.Join(home, ".pki", "nssdb")
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-t", "C,,", "-n", "ours", "-i", d.authority}} {
		if err := os.MkdirAll(db, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("certutil", append(args, "-d", "sql:"+db)...).CombinedOutput(); err != nil {
			t.Fatalf("certutil: %v\n%s", err, out)
		}
	}
	d.with("BROWSER_HOME="+home).runs(t, "../js", "node", "--test", "--test-timeout=300000", "--test-force-exit", "domain/browser.test.mjs")
}
