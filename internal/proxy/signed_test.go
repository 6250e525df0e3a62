package proxy

import (
	"fmt"
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
