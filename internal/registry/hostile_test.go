package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"shoal/internal/outbound"
	"shoal/internal/registry/registrytest"
)

const secret = "what only this machine may read"

// internalService is a server on loopback that counts its connections. Its port is returned.
func internalService(t *testing.T) (port string, connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, secret)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	must(t, err)
	return port, connections
}

// TestInternalRegistry: a registry at an internal address is not connected to, and the
// message has what the operator can do, but no address.
func TestInternalRegistry(t *testing.T) {
	port, connections := internalService(t)
	c := open(t, Config{Outbound: outbound.Config{Allow: []string{}}})
	for _, host := range []string{"127.0.0.1:", "localhost:", "[::ffff:127.0.0.1]:"} {
		_, err := get(t, c, host+port+"/x/y:z", nil, quiet)
		var wrong *Error
		if !errors.As(err, &wrong) || !strings.Contains(wrong.Message, "--outbound-allow") || errors.As(err, new(*Unreachable)) {
			t.Errorf("%s: %v", host, err)
		} else if strings.Contains(strings.ReplaceAll(wrong.Message, host+port, ""), "127.0.0.1") {
			t.Errorf("%s: the message tells an address: %s", host, wrong.Message)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("the internal service has seen %d connections", n)
	}
}

// TestReferencesToInternal: wherever a registry points to an internal service, there is no
// connection to it.
func TestReferencesToInternal(t *testing.T) {
	port, connections := internalService(t)
	inner := "http://localhost:" + port + "/"
	images := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	what := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case what == "realm" && r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+inner+`",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case what == "realm's redirect" && r.URL.Path == "/token":
			http.Redirect(w, r, inner, http.StatusTemporaryRedirect)
		case what == "realm's redirect":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case what == "ping" && r.URL.Path == "/v2/", what != "" && strings.Contains(r.URL.Path, "/"+what+"/"):
			http.Redirect(w, r, inner, http.StatusTemporaryRedirect)
		default:
			images.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host + "/some/image:v1")
	must(t, err)
	must(t, registrytest.Write(images, ref, registrytest.Image(t)))
	c := open(t, Config{Outbound: outbound.Config{Allow: []string{host}}})
	for _, what = range []string{"ping", "manifests", "blobs", "realm", "realm's redirect"} {
		_, err := get(t, c, ref.Name(), nil, quiet)
		if wrong := new(Error); !errors.As(err, &wrong) || !strings.Contains(wrong.Message, "--outbound-allow") {
			t.Errorf("%s: %v", what, err)
		} else if strings.Contains(wrong.Message, port) || strings.Contains(wrong.Message, secret) {
			t.Errorf("%s: the message tells what it led to: %s", what, wrong.Message)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("the internal service has seen %d connections", n)
	}
	what = ""
	if _, err := get(t, c, ref.Name(), nil, quiet); err != nil {
		t.Errorf("the same registry without references: %v", err)
	}
}

// TestQuotesNothing: no message has anything that a server wrote, but its status and the
// codes that registries have.
func TestQuotesNothing(t *testing.T) {
	status, kind, body := 0, "", ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" && status == http.StatusOK {
			return
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	c := open(t, Config{})
	const manifest = "application/vnd.docker.distribution.manifest.v2+json"
	for _, answer := range []struct {
		status     int
		kind, body string
		want       string
	}{
		{200, "text/html", "<h1>secret-word</h1>", "not a container registry"},
		{200, manifest, `{"secret-word": 1`, "not a container registry"},
		{200, manifest, `{"layers": "secret-word"}`, "not a container registry"},
		{200, manifest, `{"config":{"digest":"secret-word"}}`, "not a container registry"},
		{400, "text/plain", "secret-word", "status 400."},
		{418, "application/json", `{"errors":[{"code":"SECRET-WORD","message":"secret-word"}]}`, "status 418."},
		{429, "application/json", `{"errors":[{"code":"TOOMANYREQUESTS","message":"secret-word","detail":"secret-word"}]}`,
			"status 429 and the code TOOMANYREQUESTS."},
		{500, "text/html", "<h1>secret-word</h1>", "status 500."},
		{403, "text/html", "<h1>secret-word</h1>", "access denied to "},
	} {
		status, kind, body = answer.status, answer.kind, answer.body
		_, err := get(t, c, host+"/x/y:z", nil, quiet)
		wrong := new(Error)
		if !errors.As(err, &wrong) || !strings.Contains(wrong.Message, answer.want) {
			t.Errorf("%d %s: %v, want %q", status, body, err, answer.want)
		}
		if strings.Contains(strings.ToLower(fmt.Sprint(err)), "secret") {
			t.Errorf("%d %s is quoted: %v", status, body, err)
		}
	}
}

// TestImageBounds: sizes that do not add up, too many layers and a description without end
// are refused before a layer is asked for.
func TestImageBounds(t *testing.T) {
	layer := func(size string) string {
		return `{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":` + size + `,"digest":"sha256:` + strings.Repeat("b", 64) + `"}`
	}
	const config = `{"architecture":"amd64","os":"linux"}`
	manifest, blobs := "", 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			fmt.Fprint(w, manifest)
		case strings.HasSuffix(r.URL.Path, "bbbb"):
			blobs++
		case strings.Contains(r.URL.Path, "/blobs/"):
			fmt.Fprint(w, config)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	digest, size, err := v1.SHA256(strings.NewReader(config))
	must(t, err)
	for _, c := range []struct{ layers, want string }{
		{layer("9223372036854775807") + "," + layer("9223372036854775807"), "is larger than"},
		{layer("-1"), "is larger than"},
		{layer(fmt.Sprint(MaxImage+1)) + "," + layer("-9"), "is larger than"},
		{strings.Repeat(layer("1")+",", maxLayers) + layer("1"), "has 513 layers"},
		{layer("1") + strings.Repeat(" ", 5<<20), "its answer is too large"},
	} {
		manifest = fmt.Sprintf(`{"schemaVersion":2,"config":{"size":%d,"digest":%q},"layers":[%s]}`, size, digest, c.layers)
		_, err := get(t, open(t, Config{}), host+"/x/y:z", nil, quiet)
		if wrong := new(Error); !errors.As(err, &wrong) || !strings.Contains(wrong.Message, c.want) {
			t.Errorf("%.80s: %v, want %q", c.layers, err, c.want)
		}
	}
	if blobs != 0 {
		t.Errorf("%d layers were asked for", blobs)
	}
}

// TestPullAfterFind: what Find's context bounds is over when the layers are pulled.
func TestPullAfterFind(t *testing.T) {
	images := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(images)
	defer server.Close()
	reference := strings.TrimPrefix(server.URL, "http://") + "/some/image:v1"
	ref, err := ParseName(reference)
	must(t, err)
	must(t, remote.Write(ref, registrytest.Image(t)))
	finding, cancel := context.WithCancel(t.Context())
	i, err := open(t, Config{}).Find(finding, ref, reference, nil)
	must(t, err)
	cancel()
	must(t, i.Pull(t.Context(), quiet, func(pulled v1.Image) error {
		_, err := pulled.ConfigFile()
		return err
	}))
}

// TestMirrorIsAllowed: the operator names mirrors, so they may be internal.
func TestMirrorIsAllowed(t *testing.T) {
	images := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(images)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host + "/some/image:v1")
	must(t, err)
	must(t, registrytest.Write(images, ref, registrytest.Image(t)))
	c := open(t, Config{Mirrors: map[string]string{"docker.io": host}, Outbound: outbound.Config{Allow: []string{}}})
	_, err = get(t, c, "some/image:v1", nil, quiet)
	must(t, err)
	for _, mirror := range []string{"mirror.example", "[fd00::1]", "mirror.example:5000/prefix", "10.0.0.1"} {
		open(t, Config{Mirrors: map[string]string{"docker.io": mirror}})
	}
}
