package intercept

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func TestAuthoritySurvivesItsText(t *testing.T) {
	now := time.Now()
	a, err := NewAuthority("i1", now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseAuthority(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Certificate(), b.Certificate()) || bytes.Contains(a.Certificate(), []byte("PRIVATE")) {
		t.Error("the certificate is another, or has the key")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.Certificate())
	leaf, err := b.vouch("a.example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{now.Add(-47 * time.Hour), now, now.Add(6 * 24 * time.Hour)} {
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "a.example.com", CurrentTime: at}); err != nil {
			t.Errorf("at %v: %v", at, err)
		}
	}
	if err := leaf.Leaf.VerifyHostname("b.example.com"); err == nil {
		t.Error("the certificate is for other names, too")
	}
	for _, bad := range []string{"", "x", string(a.Certificate()), strings.Replace(string(text), "A", "B", 40)} {
		if _, err := ParseAuthority([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestCertificatesAreKept until half of their time is over, and not without bound.
func TestCertificatesAreKept(t *testing.T) {
	now := time.Now()
	a, err := NewAuthority("i1", now)
	if err != nil {
		t.Fatal(err)
	}
	first, err := a.vouch("a.example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{time.Hour, leafTime/2 + time.Hour} {
		if got, err := a.vouch("a.example.com", now.Add(after)); err != nil || (got == first) != (after < leafTime/2) {
			t.Errorf("after %v: same %v, %v", after, got == first, err)
		}
	}
	for n := range 2 * maxLeaves {
		if _, err := a.vouch(fmt.Sprint(n, ".example.com"), now); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.leaves) > maxLeaves {
		t.Errorf("%d certificates are kept", len(a.leaves))
	}
	long := strings.Repeat("a", 60) + ".example.com"
	if got, err := a.vouch(long, now); err != nil || got.Leaf.Subject.CommonName != "" || got.Leaf.DNSNames[0] != long {
		t.Errorf("of a long name: %v", err)
	}
	if block, _ := pem.Decode(a.Certificate()); block == nil || block.Type != "CERTIFICATE" {
		t.Error("the certificate is no PEM")
	}
}

func TestMatch(t *testing.T) {
	some := shoal.Transform{Headers: map[string]string{"a": "b"}}
	transforms := map[string]shoal.Transform{"a.example.com": some, "*.example.com": some, "*.x.example.com": some,
		"*.com": some, "*.a.example.com": some, "none.example.com": {}}
	for name, want := range map[string]string{
		"a.example.com": "a.example.com", "A.EXAMPLE.com": "a.example.com", "a.example.com.": "a.example.com",
		"b.example.com": "*.example.com", "b.c.example.com": "*.example.com", "b.x.example.com": "*.x.example.com",
		"x.example.com": "*.example.com", "example.com": "*.com", "com": "", "": "", "org": "", "a.org": "",
		"b.a.example.com": "*.a.example.com", ".example.com": "*.com", "xexample.com": "*.com", "*.example.com": "*.example.com",
		"none.example.com": "",
	} {
		if domain, _, ok := Match(transforms, name); domain != want || ok != (want != "") {
			t.Errorf("%q is matched by %q", name, domain)
		}
	}
	if _, _, ok := Match(nil, "a.example.com"); ok {
		t.Error("nothing matches")
	}
}

// FuzzMatch: the domain found is the name itself, or a wildcard whose suffix the name ends with, and
// no longer listed one would do.
func FuzzMatch(f *testing.F) {
	f.Add("a.example.com", "*.example.com", "*.com")
	f.Add("example.com.", "*.example.com", "example.com")
	f.Add(".example.com", "*..com", "*.")
	f.Fuzz(func(t *testing.T, name, one, two string) {
		some := shoal.Transform{Headers: map[string]string{"a": "b"}}
		listed := map[string]shoal.Transform{one: some, two: some}
		fits := func(domain string) bool {
			n := canonical(name)
			suffix, wild := strings.CutPrefix(domain, "*.")
			return domain == n || wild && len(n) > len(suffix)+1 && strings.HasSuffix(n, "."+suffix)
		}
		domain, _, ok := Match(listed, name)
		if ok && !fits(domain) {
			t.Fatalf("%q is matched by %q", name, domain)
		}
		for other := range listed {
			if fits(other) && (!ok || len(other) > len(domain) && domain != canonical(name)) {
				t.Fatalf("%q is matched by %q (%v), and not by %q", name, domain, ok, other)
			}
		}
	})
}
