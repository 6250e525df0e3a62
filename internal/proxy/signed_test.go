package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

func signature(by string) string {
	return envdapi.FileSignature("a", envdapi.OperationRead, "", by, "")
}

func signedFront(t *testing.T) (*httptest.Server, *fixed) {
	t.Helper()
	f := &fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}, signed: signature("good")}
	front := httptest.NewServer(New(f, quiet()))
	t.Cleanup(front.Close)
	return front, f
}

func TestSignedURLFindsItsSandbox(t *testing.T) {
	front, f := signedFront(t)
	get := func(signature string) int {
		t.Helper()
		path := "/files?path=a&signature=" + strings.ReplaceAll(signature, "+", "%2B")
		return request(t, front, "GET", "localhost", path, nil, nil).StatusCode
	}
	if status := get(signature("bad")); status != 400 {
		t.Errorf("another sandbox's signature: %d", status)
	}
	if status := get("v1_" + strings.Repeat("x", 1000)); status != 400 || f.looked != 1 {
		t.Errorf("what is no signature: %d, looked up %d times", status, f.looked)
	}
	for range 3 {
		get(signature("good"))
	}
	if len(f.asked) != 3 || f.asked[0].SandboxID != testID || f.asked[0].Port != shoal.EnvdPort {
		t.Errorf("asked for %+v", f.asked)
	}
	if f.looked != 2 {
		t.Errorf("looked up %d times; a right one needs that once", f.looked)
	}
}

// TestMadeUpSignatures: who makes up signatures has few of them looked up, and other requests
// go on.
func TestMadeUpSignatures(t *testing.T) {
	front, f := signedFront(t)
	refused := 0
	for i := range 4 * signedBurst {
		path := "/files?path=a&signature=" + strings.ReplaceAll(signature(fmt.Sprint(i)), "+", "%2B")
		resp := request(t, front, "GET", "localhost", path, nil, nil)
		if resp.StatusCode == 429 {
			refused++
			if got := text(t, resp); refused == 1 && !strings.Contains(got, shoal.ErrLookupLimit.Code) {
				t.Error(got)
			}
		}
	}
	if f.looked > 2*signedBurst || refused < signedBurst {
		t.Errorf("%d were looked up, %d refused", f.looked, refused)
	}
	request(t, front, "GET", "80-"+testID+".test", "/", nil, nil)
	if len(f.asked) != 1 {
		t.Error("a request by name does not get through")
	}
}

// TestNoSignedURLs: where they are off, nothing with a signature reaches the daemon, by whichever
// way it comes, and all else does.
func TestNoSignedURLs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.11:49983")
	if err != nil {
		t.Skipf("the daemon's port is taken here: %v", err)
	}
	reached := 0
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached++
		_, _ = io.WriteString(w, "the daemon's")
	})}
	go func() { _ = backend.Serve(listener) }()
	defer backend.Close()
	f := &fixed{signed: signature("good")}
	machine := httptest.NewServer(New(f, quiet()))
	defer machine.Close()
	edge, nodes := edgeTo(t, machine)
	nodes.signed = f.signed

	const named = "49983-" + testID + ".test"
	signed := "path=a&signature=" + strings.ReplaceAll(signature("good"), "+", "%2B")
	headers := http.Header{headerSandbox: {testID}, headerPort: {"49983"}}
	token := http.Header{"X-Access-Token": {"t"}}
	for _, c := range []struct {
		what, method, host, path string
		header                   http.Header
		refused                  bool
	}{
		{"a download", "GET", named, "/files?" + signed, nil, true},
		{"an upload", "POST", named, "/files?" + signed, nil, true},
		{"one that ends", "GET", named, "/files?signature_expiration=1&" + signed, nil, true},
		{"another name of the same", "GET", named, "/files?path=a&%73ignature=x", nil, true},
		{"one by headers", "GET", "localhost", "/files?" + signed, headers, true},
		{"one without a name", "GET", "localhost", "/files?" + signed, nil, true},
		{"one with a token", "GET", named, "/files?" + signed, token, true},
		{"one with a token that is not passed on", "GET", named, "/files?" + signed,
			http.Header{"X-Access-Token": {"t"}, "Connection": {"X-Access-Token"}}, true},
		{"a file by the token", "GET", named, "/files?path=a", token, false},
		{"a file by nothing", "GET", named, "/files?path=a", nil, false},
		{"another call", "POST", named, "/process.Process/List", token, false},
	} {
		for way, front := range map[string]*httptest.Server{"": machine, " through two proxies": edge} {
			for _, off := range []bool{true, false} {
				reached = 0
				f.target = Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.11"), NoSignedURLs: off}
				resp := request(t, front, c.method, c.host, c.path, c.header, nil)
				got := text(t, resp)
				if refused := off && c.refused; (reached == 0) != refused {
					t.Errorf("%s%s, off %t: %d %s", c.what, way, off, resp.StatusCode, got)
				}
				if off && c.refused {
					wantsSwitchedOff(t, resp.StatusCode, got)
				}
			}
		}
	}
	// What a sandbox serves by itself may be signed by whom it likes.
	f.target.NoSignedURLs = true
	resp := request(t, machine, "GET", "1-"+testID+".test", "/files?"+signed, nil, nil)
	if got := text(t, resp); resp.StatusCode != 502 || !strings.Contains(got, "port_closed") {
		t.Errorf("another port: %d %s", resp.StatusCode, got)
	}
}

func wantsSwitchedOff(t *testing.T, status int, text string) {
	t.Helper()
	var body struct {
		Message, Reason, SandboxID string
		Code                       int
	}
	err := json.Unmarshal([]byte(text), &body)
	if err != nil || status != 403 || body.Code != 403 || body.Reason != shoal.ErrSwitchedOff.Code ||
		!strings.Contains(body.Message, "signed-urls") || body.SandboxID != testID {
		t.Errorf("%d %s", status, text)
	}
}
