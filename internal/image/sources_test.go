package image

import (
	"reflect"
	"testing"
)

func TestSources(t *testing.T) {
	one := oneLineSources(`
# deb http://commented.test/debian bookworm main
deb http://a.test/debian bookworm main contrib
deb [arch=amd64 signed-by=/x.gpg] http://b.test/debian bookworm-updates main
deb http://c.test/other stable main
deb-src http://a.test/debian bookworm main
`)
	if want := []string{"deb http://a.test/debian bookworm main",
		"deb [signed-by=/x.gpg] http://b.test/debian bookworm-updates main"}; !reflect.DeepEqual(one, want) {
		t.Errorf("got %v", one)
	}
	stanzas := deb822Sources(`Types: deb deb-src
# a comment
URIs: http://a.test/debian
Suites: bookworm bookworm-updates trixie
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://inline.test/debian
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQ

Types: deb
Enabled: no
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://b.test/x
Suites: bookworm
Components: other
`)
	if want := []string{
		"deb [signed-by=/usr/share/keyrings/a.gpg] http://a.test/debian bookworm main",
		"deb [signed-by=/usr/share/keyrings/a.gpg] http://a.test/debian bookworm-updates main",
		"deb http://inline.test/debian bookworm-security main",
	}; !reflect.DeepEqual(stanzas, want) {
		t.Errorf("got %v", stanzas)
	}
}

func TestFetchOptions(t *testing.T) {
	got := fetchOptions(`APT::Architecture "amd64";
Acquire::http "";
Acquire::http::Proxy "http://proxy.test:3128/";
Acquire::http::Proxy::mirror.test "DIRECT";
Acquire::https::CAInfo "/etc/ssl/operator.pem";
Acquire::Retries "3";
Acquire::Languages "none";
`)
	want := []string{
		`Acquire::http::Proxy "http://proxy.test:3128/"`,
		`Acquire::http::Proxy::mirror.test "DIRECT"`,
		`Acquire::https::CAInfo "/etc/ssl/operator.pem"`,
		`Acquire::Retries "3"`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}
