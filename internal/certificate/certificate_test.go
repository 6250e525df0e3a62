package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/config"
)

func authority(t *testing.T, domain string) *Authority {
	t.Helper()
	a, err := OpenAuthority(filepath.Join(t.TempDir(), domain), domain)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAuthority: it stays the same, its key is secret, and it vouches for its domain only.
func TestAuthority(t *testing.T) {
	a := authority(t, "box.localhost")
	again, err := OpenAuthority(filepath.Dir(a.File), "box.localhost")
	if err != nil || !again.Cert.Equal(a.Cert) {
		t.Fatalf("the second time it is another: %v", err)
	}
	if info, err := os.Stat(filepath.Join(filepath.Dir(a.File), keyName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its key: %v %v", info, err)
	}
	if info, err := os.Stat(a.File); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("its certificate: %v %v", info, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Cert)
	for name, good := range map[string]bool{"api.box.localhost": true, "3000-iabc.box.localhost": true, "box.localhost": true,
		"a.b.box.localhost": false, "www.evil.example": false, "box.localhost.evil.example": false, "localhost": false} {
		// Even if it issues a certificate for the name.
		for _, names := range [][]string{{"box.localhost", "*.box.localhost"}, {name}} {
			cert, err := a.issue(time.Now(), names...)
			if err != nil {
				t.Fatal(err)
			}
			_, err = cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
			if want := good || names[0] == name && strings.HasSuffix(name, ".box.localhost"); (err == nil) != want {
				t.Errorf("%v for %s: %v", names, name, err)
			}
		}
	}
}

// TestOpenSSLTakesIt: other libraries read constraints in other ways.
func TestOpenSSLTakesIt(t *testing.T) {
	a := authority(t, "box.localhost")
	for name, good := range map[string]bool{"3000-iabc.box.localhost": true, "www.evil.example": false} {
		cert, err := a.issue(time.Now(), name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "leaf.crt")
		write(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
		out, err := exec.Command("openssl", "verify", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile", a.File, file).CombinedOutput()
		if (err == nil) != good {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestIssuedIsRenewed long before its end, and not with every handshake.
func TestIssuedIsRenewed(t *testing.T) {
	i := newIssued(authority(t, "box.localhost"), "box.localhost")
	now := time.Now()
	i.now = func() time.Time { return now }
	get := func() *tls.Certificate {
		t.Helper()
		c, err := i.Certificate(&tls.ClientHelloInfo{ServerName: "api.box.localhost"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	if now = now.Add(issuedTime - renewTime - time.Hour); get() != first {
		t.Error("another one too soon")
	}
	if now = now.Add(2 * time.Hour); get() == first || get().Leaf.NotAfter.Before(now.Add(issuedTime-time.Hour)) {
		t.Error("it is not renewed")
	}
}

// pair writes a certificate for names with its key.
func pair(t *testing.T, a *Authority, from time.Time, names ...string) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writePair(t, a, from, certFile, keyFile, names...)
	return certFile, keyFile
}

func writePair(t *testing.T, a *Authority, from time.Time, certFile, keyFile string, names ...string) {
	t.Helper()
	cert, err := a.issue(from, names...)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFilesAreReadAgain, once both fit together.
func TestFilesAreReadAgain(t *testing.T) {
	a := authority(t, "box.example")
	certFile, keyFile := pair(t, a, time.Now(), "*.box.example")
	f, err := openFiles(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = TLS(f)
	server.StartTLS()
	defer server.Close()
	serial := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "api.box.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	f.reload()
	if serial() != first {
		t.Error("another one without a change")
	}
	otherCert, otherKey := pair(t, a, time.Now().Add(time.Minute), "*.box.example")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(otherCert, certFile) // the key is still the old one
	f.reload()
	if serial() != first {
		t.Error("a certificate without its key is served")
	}
	move(otherKey, keyFile)
	f.reload()
	if serial() == first {
		t.Error("the new one is not served")
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	second := serial()
	f.reload()
	if serial() != second {
		t.Error("nothing is served while the file is away")
	}
}

func TestInspect(t *testing.T) {
	a, now := authority(t, "box.example"), time.Now()
	settings := func(domain string, from time.Time, names ...string) *config.Config {
		cert, key := pair(t, a, from, names...)
		return &config.Config{TLS: config.TLSFiles, Domain: domain, TLSCert: cert, TLSKey: key}
	}
	broken := settings("box.example", now, "*.box.example")
	write(t, broken.TLSKey, []byte("no key"))
	swapped := settings("box.example", now, "*.box.example")
	_, swapped.TLSKey = pair(t, a, now, "*.box.example")
	for name, c := range map[string]struct {
		cfg   *config.Config
		want  string // "" = fine
		fatal bool
	}{
		"fine":         {settings("box.example:8443", now, "*.box.example"), "", false},
		"expired":      {settings("box.example", now.Add(-issuedTime-24*time.Hour), "*.box.example"), "expired on", true},
		"ends soon":    {settings("box.example", now.Add(-issuedTime+24*time.Hour), "*.box.example"), "expires on", false},
		"not yet":      {settings("box.example", now.Add(48*time.Hour), "*.box.example"), "good from", true},
		"other domain": {settings("other.example", now, "*.box.example"), "not for *.other.example", true},
		"no wildcard":  {settings("box.example", now, "api.box.example"), "not for *.box.example", true},
		"no key":       {broken, "read the certificate", true},
		"other key":    {swapped, "does not match", true},
		"no files": {&config.Config{TLS: config.TLSFiles, Domain: "box.example", TLSCert: "/nonexistent", TLSKey: "/nonexistent"},
			"no such file", true},
		"local, new": {&config.Config{TLS: config.TLSLocal, Domain: "box.localhost", DataDir: t.TempDir()}, "", false},
		"none":       {&config.Config{TLS: config.TLSOff}, "", false},
	} {
		_, wrong := Inspect(c.cfg, now)
		if c.want == "" {
			if len(wrong) != 0 {
				t.Errorf("%s: %+v", name, wrong)
			}
			continue
		}
		if len(wrong) != 1 || !strings.Contains(wrong[0].Problem, c.want) || wrong[0].Fatal != c.fatal || wrong[0].Fix == "" {
			t.Errorf("%s: %+v, want %q", name, wrong, c.want)
		}
	}
}

// TestNamesOnDemand: certificates are asked for names that lead somewhere, within the bound,
// which a restart does not lift.
func TestNamesOnDemand(t *testing.T) {
	cfg := &config.Config{TLS: config.TLSACME, Domain: "box.example", DataDir: t.TempDir()}
	known := func(_ context.Context, id string) bool { return strings.HasPrefix(id, "i") }
	open := func() *names {
		t.Helper()
		n, err := openNames(cfg, known)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := open()
	for name, want := range map[string]bool{"api.box.example": true, "3000-iabc.box.example": true, "3000-IABC.Box.Example": true,
		"3000-xabc.box.example": false, "box.example": false, "www.box.example": false, "evil.example": false,
		"3000-iabc.evil.example": false, "3000-iabc.x.box.example": false, "999999-iabc.box.example": false, "": false} {
		if err := n.admit(t.Context(), name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := n.admit(t.Context(), "evil.example"); !errors.Is(err, errForeign) {
		t.Errorf("a foreign name: %v", err)
	}
	for port := 1; len(n.given) < maxNames; port++ {
		if err := n.admit(t.Context(), fmt.Sprintf("%d-iabc.box.example", port)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []*names{n, open()} {
		if n.admit(t.Context(), "9999-iabc.box.example") == nil {
			t.Error("one more than the bound")
		}
		if err := errors.Join(n.admit(t.Context(), "3000-iabc.box.example"), n.admit(t.Context(), "api.box.example")); err != nil {
			t.Errorf("a name that has one: %v", err)
		}
	}
	n.now = func() time.Time { return time.Now().Add(namesTime + time.Minute) }
	if err := n.admit(t.Context(), "9999-iabc.box.example"); err != nil {
		t.Errorf("a week later: %v", err)
	}
}
