package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// FuzzRoute holds three promises: a route names a sandbox and a port that the request
// spelled out, the host wins over headers, and host and headers lead to the same place.
func FuzzRoute(f *testing.F) {
	for _, host := range []string{"49983-abc.example.com", "3000-abc-6532622b.example.com:3002", "example.com", "[::1]:3002",
		"127.0.0.1", "80-.x", "-a.x", "1-A.x", "1-\u212a.x", "99999999999999999999-a.x", "1-a", "", "1-a..", "[1-a.x", "0-a.x:y:z"} {
		f.Add(host, "abc", "49983")
		f.Add(host, "", "")
	}
	f.Fuzz(func(t *testing.T, host, id, port string) {
		bare := &http.Request{Host: host, Header: http.Header{}}
		headed := &http.Request{Host: host, Header: http.Header{headerSandbox: {id}, headerPort: {port}}}
		byHost, hostErr := routeOf(bare)
		byBoth, bothErr := routeOf(headed)
		if hostErr == nil && (bothErr != nil || byBoth != byHost) {
			t.Errorf("host %q means %+v, but %+v (%v) with headers %q, %q", host, byHost, byBoth, bothErr, id, port)
		}
		if bothErr != nil {
			if byBoth != (route{}) {
				t.Errorf("refused (%v), but a route: %+v", bothErr, byBoth)
			}
			return
		}
		if strings.Trim(byBoth.sandboxID, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || byBoth.sandboxID == "" {
			t.Errorf("%q is no sandbox's ID", byBoth.sandboxID)
		}
		if !strings.HasPrefix(id, byBoth.sandboxID) && !strings.Contains(lower(host), "-"+byBoth.sandboxID) {
			t.Errorf("neither host %q nor header %q names %q", host, id, byBoth.sandboxID)
		}
		for _, again := range []*http.Request{
			{Host: fmt.Sprintf("%d-%s.example.com:3002", byBoth.port, byBoth.sandboxID)},
			{Host: "example.com", Header: http.Header{headerSandbox: {byBoth.sandboxID}, headerPort: {fmt.Sprint(byBoth.port)}}},
		} {
			if got, err := routeOf(again); err != nil || got != byBoth {
				t.Errorf("%+v becomes %+v (%v)", byBoth, got, err)
			}
		}
	})
}
