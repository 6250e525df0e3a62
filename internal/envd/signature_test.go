package envd

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

const vectorToken = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"

func signed(path, operation, user, token, expiration string) string {
	raw := strings.Join([]string{path, operation, user, token}, ":")
	if expiration != "" {
		raw += ":" + expiration
	}
	sum := sha256.Sum256([]byte(raw))
	return "v1_" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func TestSignatureVector(t *testing.T) {
	g := newGuest(t)
	g.mustUpload("hello.txt", "hello")
	g.mustInit(`{"accessToken":"` + vectorToken + `"}`)
	const signature = "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"
	a := g.do("GET", "/files?path=hello.txt&username=user&signature="+url.QueryEscape(signature), nil)
	if a.status != 200 || a.body != "hello" {
		t.Fatalf("%d %q", a.status, a.body)
	}
}

func TestSignedURLs(t *testing.T) {
	g := newGuest(t)
	g.mustUpload("f", "content")
	g.mustInit(`{"accessToken":"secret"}`)
	future, past := fmt.Sprint(time.Now().Add(time.Hour).Unix()),
		fmt.Sprint(time.Now().Add(-time.Hour).Unix())
	query := func(path, user, signature, expiration string) string {
		q := url.Values{}
		for key, value := range map[string]string{"path": path, "username": user, "signature": signature,
			"signature_expiration": expiration} {
			if value != "" {
				q.Set(key, value)
			}
		}
		return "/files?" + q.Encode()
	}
	const expired, invalid = "signature is already expired", "invalid signature"
	for _, c := range []struct {
		name, method, query string
		status              int
		message             string
	}{
		{"no expiration", "GET", query("f", "", signed("f", "read", "", "secret", ""), ""), 200, ""},
		{"future", "GET", query("f", "user", signed("f", "read", "user", "secret", future), future), 200, ""},
		{"past", "GET", query("f", "", signed("f", "read", "", "secret", past), past), 401, expired},
		{"past upload", "POST", query("f", "", signed("f", "write", "", "secret", past), past), 401, expired},
		{"signed without, sent with", "GET", query("f", "", signed("f", "read", "", "secret", ""), past), 401,
			invalid},
		{"signed with, sent without", "GET", query("f", "", signed("f", "read", "", "secret", future), ""),
			401, invalid},
		{"other path", "GET", query("g", "", signed("f", "read", "", "secret", ""), ""), 401, invalid},
		{"resolved path", "GET", query(g.home+"/f", "", signed("f", "read", "", "secret", ""), ""), 401,
			invalid},
		{"other operation", "POST", query("f", "", signed("f", "read", "", "secret", ""), ""), 401, invalid},
		{"other user", "GET", query("f", "root", signed("f", "read", "user", "secret", ""), ""), 401,
			invalid},
		{"other token", "GET", query("f", "", signed("f", "read", "", "other", ""), ""), 401, invalid},
		{"no signature", "GET", query("f", "", "", ""), 401, ""},
		{"missing file", "GET", query("demo/test.txt", "", signed("demo/test.txt", "read", "", "secret", ""),
			""), 404, "path '" + g.home + "/demo/test.txt' does not exist"},
		{"upload", "POST", query("up", "", signed("up", "write", "", "secret", future), future), 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := g.do(c.method, c.query, strings.NewReader("new"), "Content-Type", "application/octet-stream")
			if c.status == 200 {
				if a.status != 200 {
					t.Fatalf("%d %q", a.status, a.body)
				}
				return
			}
			wantError(t, a, c.status, c.message)
		})
	}
	valid := query("f", "", signed("f", "read", "", "secret", ""), "")
	wantError(t, g.do("GET", valid, nil, "X-Access-Token", "wrong"), 401, "")
	body, kind := form(t, part{"file", "named.txt", "x"})
	a := g.do("POST", query("", "", signed("", "write", "", "secret", ""), ""), body, "Content-Type", kind)
	if a.status != 200 || !strings.Contains(a.body, g.home+"/named.txt") {
		t.Errorf("an upload URL without a path: %d %q", a.status, a.body)
	}
	wantError(t, g.do("POST", "/files/compose?signature="+signed("", "write", "", "secret", ""),
		strings.NewReader("{}")), 401, "")
}
