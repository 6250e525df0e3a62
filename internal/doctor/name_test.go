package doctor

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/miekg/dns"
)

// resolver answers queries on loopback.
func resolver(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeRefused))
	})}
	done := make(chan error)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-done
	})
	return conn.LocalAddr().String()
}

func TestResolvers(t *testing.T) {
	cfg := settings(t)
	good := resolver(t)
	cfg.DNS = []string{good}
	wants(t, checkResolvers(t.Context(), cfg), OK, "1 answer")
	cfg.DNS = []string{good, "127.0.0.1:1"}
	if r := checkResolvers(t.Context(), cfg); r.Fix == "" {
		t.Errorf("without a fix: %+v", r)
	}
	wants(t, checkResolvers(t.Context(), cfg), Note, "127.0.0.1:1")
	cfg.DNS = []string{"127.0.0.1:1"}
	wants(t, checkResolvers(t.Context(), cfg), Warn, "find no names")

	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("# none\nnameserver 192.0.2.7\nnameserver ::1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := hostResolvers(file); err != nil || len(list) != 2 || list[0].String() != "192.0.2.7:53" {
		t.Errorf("the host's: %v, %v", list, err)
	}
}

func TestRegistries(t *testing.T) {
	good := httptest.NewServer(registry.New())
	t.Cleanup(good.Close)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(locked.Close)
	cfg := settings(t)
	for mirror, c := range map[string]struct {
		level Level
		found string
	}{
		good.Listener.Addr().String():          {OK, "127.0.0.1"},
		good.Listener.Addr().String() + "/hub": {OK, "127.0.0.1"},
		locked.Listener.Addr().String():        {OK, "127.0.0.1"},
		other.Listener.Addr().String():         {Warn, "404"},
		"127.0.0.1:1":                          {Warn, "its mirror 127.0.0.1:1"},
		"not a name":                           {Warn, "its mirror not a name"},
	} {
		cfg.RegistryMirrors = map[string]string{"docker.io": mirror}
		wants(t, checkRegistries(t.Context(), cfg), c.level, c.found)
	}
	cfg.RegistryMirrors = map[string]string{"docker.io": good.Listener.Addr().String(), "quay.io": "127.0.0.1:1"}
	wants(t, checkRegistries(t.Context(), cfg), Warn, "quay.io")
	// Without the internet, which a proxy that nobody serves stands for, it is no fault.
	cfg.RegistryMirrors, cfg.OutboundProxy = nil, "http://127.0.0.1:1"
	wants(t, checkRegistries(t.Context(), cfg), Note, "docker.io")
}

func TestPackages(t *testing.T) {
	cfg := settings(t)
	wants(t, checkPackages(t.Context(), cfg), OK, "no mirrors")
	good := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(good.Close)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(broken.Close)
	for mirror, c := range map[string]struct {
		level Level
		found string
	}{
		good.URL: {OK, "1 mirror"}, broken.URL: {Warn, "502"}, "http://127.0.0.1:1": {Warn, "find no packages"},
	} {
		cfg.PackageMirrors = map[string]string{"http://deb.debian.org": mirror}
		wants(t, checkPackages(t.Context(), cfg), c.level, c.found)
	}
}
