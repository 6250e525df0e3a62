package image

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// testAuthority writes a new certificate to a file with this name, in a directory of its
// own.
func testAuthority(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		IsCA: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		0o644); err != nil {
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

// TestAuthoritiesOfOneFileName: two directories may hold files of the same name.
func TestAuthoritiesOfOneFileName(t *testing.T) {
	list, err := readAuthorities([]string{testAuthority(t, "corp"), testAuthority(t, "corp")})
	if err != nil || len(list) != 2 || list[0].name == list[1].name {
		t.Errorf("got %v %v", list, err)
	}
}
