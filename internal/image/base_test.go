package image

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSources(t *testing.T) {
	one := oneLineSources(`
# deb http://commented.test/debian bookworm main
deb http://a.test/debian bookworm main contrib
deb [arch=amd64 signed-by=/x.gpg] http://b.test/debian bookworm-updates main
deb http://c.test/other stable main
deb-src http://a.test/debian bookworm main
`)
	if want := []string{"deb http://a.test/debian bookworm main", "deb http://b.test/debian bookworm-updates main"}; !reflect.DeepEqual(one, want) {
		t.Errorf("got %v", one)
	}
	stanzas := deb822Sources(`Types: deb deb-src
# a comment
URIs: http://a.test/debian
Suites: bookworm bookworm-updates trixie
Components: main contrib

Types: deb
URIs: http://b.test/x
Suites: bookworm
Components: other
`)
	if want := []string{"deb http://a.test/debian bookworm main", "deb http://a.test/debian bookworm-updates main"}; !reflect.DeepEqual(stanzas, want) {
		t.Errorf("got %v", stanzas)
	}
}

func testAuthority(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadAuthorities(t *testing.T) {
	a, b := testAuthority(t, "a"), testAuthority(t, "b")
	first, err := readAuthorities([]string{a, b, a})
	if err != nil || len(first) != 2 {
		t.Fatal(first, err)
	}
	second, err := readAuthorities([]string{b, a})
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("the order of files matters: %v", err)
	}
	junk := filepath.Join(t.TempDir(), "junk.crt")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readAuthorities([]string{junk}); err == nil || !strings.Contains(err.Error(), junk) {
		t.Errorf("junk: %v", err)
	}
}

// TestEnsureBase builds the real thing; it needs root, the network and a minute.
func TestEnsureBase(t *testing.T) {
	dir := os.Getenv("SHOAL_TEST_BOOTSTRAP")
	if dir == "" || os.Geteuid() != 0 {
		t.Skip("set SHOAL_TEST_BOOTSTRAP to a directory, as root; the end-to-end tests build the base template too")
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Envd: []byte("not envd"), CAFiles: []string{testAuthority(t, "operator")},
		Progress: func(p Progress) { t.Logf("%s %d/%d %s", p.Stage, p.Done, p.Total, p.Message) }}
	r, err := NewBuilder(s, slog.New(slog.DiscardHandler)).EnsureBase(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("packages %s, image %s, %d MiB", r.PackagesTook, r.ImageTook, r.Size>>20)
	path, err := s.Path(r.Digest)
	if err != nil {
		t.Fatal(err)
	}
	got := readBack(t, path)
	for name, want := range map[string]string{
		"/home/user": "40755 1000:1000", "/home/user/.bashrc": "100644 1000:1000", "/usr/local/bin": "40777 0:0",
		"/code": "40777 0:0", "/usr/bin/envd": "100755 0:0", "/etc/sudoers.d/user": "100440 0:0", "/usr/bin/sudo": "104755 0:0",
		"/usr/local/bin/node": "100755", "/tmp": "41777 0:0",
	} {
		if !strings.HasPrefix(got[name], want) {
			t.Errorf("%s is %.80q, want %q", name, got[name], want)
		}
	}
	start := time.Now()
	again, err := NewBuilder(s, slog.New(slog.DiscardHandler)).EnsureBase(context.Background(), options)
	if err != nil || again.Digest != r.Digest {
		t.Errorf("the second time: %v %v", again, err)
	}
	t.Logf("the second time took %s", time.Since(start))
}
