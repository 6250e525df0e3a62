package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"shoal/internal/config"
	"shoal/internal/freeport"
)

// ca is a real ACME authority: the one that Let's Encrypt tests clients with.
type ca struct {
	directory, roots string // its URL, and who vouches for that
	issuer           *x509.CertPool
	records          string // a directory with a file of TXT records for each name
}

// startCA starts one that finds all names at 127.0.0.1, and TLS at a port there.
func startCA(t *testing.T, tlsPort int) ca {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "../../scripts/tools", "pebble").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	own := authority(t, "localhost")
	cert, key := pair(t, own, time.Now(), "localhost")
	port, management := freeport.Of(t), freeport.Of(t)
	c := ca{directory: fmt.Sprintf("https://localhost:%d/dir", port), roots: own.File, records: t.TempDir()}
	settings := filepath.Join(t.TempDir(), "pebble.json")
	write(t, settings, fmt.Appendf(nil, `{"pebble": {"listenAddress": "127.0.0.1:%d", "managementListenAddress": "127.0.0.1:%d",
		"certificate": %q, "privateKey": %q, "httpPort": 1, "tlsPort": %d,
		"profiles": {"default": {"description": "ordinary", "validityPeriod": 7776000}}}}`, port, management, cert, key, tlsPort))
	cmd := exec.Command("../../bin/tools/pebble", "-config", settings, "-dnsserver", serveDNS(t, c.records))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pool := x509.NewCertPool()
	pool.AddCert(own.Cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	await(t, func() error {
		resp, err := client.Get(fmt.Sprintf("https://localhost:%d/roots/0", management))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		c.issuer = x509.NewCertPool()
		if !c.issuer.AppendCertsFromPEM(data) {
			return fmt.Errorf("no root: %w", err)
		}
		return err
	})
	return c
}

func await(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// serveDNS answers with 127.0.0.1, and with the TXT records in files.
func serveDNS(t *testing.T, records string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // as the authority asks
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		q := r.Question[0]
		head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeTXT:
			data, _ := os.ReadFile(filepath.Join(records, strings.TrimSuffix(strings.ToLower(q.Name), ".")))
			for _, value := range strings.Fields(string(data)) {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: head, Txt: []string{value}})
			}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return l.Addr().String()
}

// serveSource ends TLS at a port by a source, until the test ends.
func serveSource(t *testing.T, s Source, port int) {
	t.Helper()
	l, err := tls.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port), TLS(s))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- server.Serve(l) }()
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		server.Close()
		<-done
		<-done
	})
}

// handshake returns the names of the certificate that is served for a name.
func (c ca) handshake(port int, name string) ([]string, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 20 * time.Second}, Config: &tls.Config{ServerName: name, RootCAs: c.issuer}}
	conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames, nil
}

func (c ca) settings(t *testing.T, port int) *config.Config {
	return &config.Config{TLS: config.TLSACME, Domain: "box.example", DataDir: t.TempDir(), ACMEDirectory: c.directory,
		ACMERoots: c.roots, TLSListen: fmt.Sprintf("127.0.0.1:%d", port)}
}

// TestWildcardByHook: one certificate is for all names, and the records go when it is there.
func TestWildcardByHook(t *testing.T) {
	port := freeport.Of(t)
	c := startCA(t, port)
	cfg := c.settings(t, port)
	cfg.ACMEHook = filepath.Join(t.TempDir(), "hook")
	script := `#!/bin/sh
case $1 in
present) echo "$3" >>` + c.records + `/"$2" ;;
cleanup) rm -f ` + c.records + `/"$2" ;;
esac
echo "$1" >>` + c.records + `/calls`
	if err := os.WriteFile(cfg.ACMEHook, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	source, err := Open(cfg, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	serveSource(t, source, port)
	await(t, func() error {
		names, err := c.handshake(port, "3000-iabc.box.example")
		if err == nil && !slices.Equal(names, []string{"*.box.example"}) {
			t.Fatalf("for %v", names)
		}
		return err
	})
	if _, err := c.handshake(port, "api.box.example"); err != nil {
		t.Errorf("the API: %v", err)
	}
	if _, err := c.handshake(port, "api.evil.example"); err == nil {
		t.Error("a foreign name has a certificate")
	}
	if left, _ := filepath.Glob(filepath.Join(c.records, "_acme*")); len(left) != 0 {
		t.Errorf("records stay: %v", left)
	}
	if calls, _ := os.ReadFile(filepath.Join(c.records, "calls")); string(calls) != "present\ncleanup\n" {
		t.Errorf("the hook was called for %q", calls)
	}
}

// TestNamesByHandshakes: without a hook a name gets its certificate when it is first used.
func TestNamesByHandshakes(t *testing.T) {
	port := freeport.Of(t)
	c := startCA(t, port)
	known := func(_ context.Context, id string) bool { return id == "iabc" }
	cfg := c.settings(t, port)
	source, err := Open(cfg, known, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	serveSource(t, source, port)
	for _, name := range []string{"api.box.example", "3000-iabc.box.example"} {
		await(t, func() error {
			names, err := c.handshake(port, name)
			if err == nil && !slices.Equal(names, []string{name}) {
				t.Fatalf("%s: for %v", name, names)
			}
			return err
		})
	}
	for _, name := range []string{"3000-iother.box.example", "www.box.example"} {
		if names, err := c.handshake(port, name); err == nil {
			t.Errorf("%s has a certificate for %v", name, names)
		}
	}
	kept, err := filepath.Glob(filepath.Join(cfg.ACMEDir(), "certificates", "*", "*", "*.key"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept: %v %v", kept, err)
	}
	for _, file := range kept {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info, err)
		}
	}
}
