package attack

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// flood is something of which there is far too much, until ctx ends.
type flood struct {
	name string
	run  func(ctx context.Context, t *testing.T, from sandbox)
}

var floods = []flood{
	{"small files", inGuest("user", "files")},
	{"forks", inGuest("user", "forks")},
	{"threads that spin", inGuest("user", "spin")},
	{"sockets", inGuest("root", "sockets")},
	{"terminals", inGuest("user", "terminals")},
	{"watches", inGuest("user", "watches")},
	{"memory", inGuest("user", "memory")},
	{"log lines", inGuest("root", "logs")},
	{"DNS by UDP", inGuest("root", "dns-udp")},
	{"DNS by TCP", inGuest("root", "dns-tcp")},
	{"egress connections", inGuest("root", "egress", website)},
	{"output that is not read", unreadOutput},
	{"idle connections", connections(stream{Addresses: 1})},
	{"idle connections from many addresses", connections(stream{Addresses: 50})},
	{"half requests", connections(stream{Addresses: 1, Start: "GET / HTTP/1.1\r\nHost: "})},
	{"dripping requests from many addresses",
		connections(stream{Addresses: 50, Start: "GET / HTTP/1.1\r\nX: ", Pace: time.Second})},
	{"dripping TLS handshakes from many addresses", // each begins a message of 512 bytes
		connections(stream{To: domainListen, Addresses: 50, Start: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", Pace: time.Second})},
	{"TLS handshakes from many addresses", connections(stream{To: domainListen, Addresses: 50, Secure: true})},
	{"requests to one sandbox", manyRequests},
	{"creates at the limit", manyCreates},
}

// inGuest runs one of the floods of flood.py.
func inGuest(user string, args ...string) func(context.Context, *testing.T, sandbox) {
	return func(ctx context.Context, t *testing.T, from sandbox) {
		line, err := from.program(ctx, "flood.py")
		if err != nil {
			t.Error(err)
			return
		}
		out, err := from.run(ctx, user, line+" "+strings.Join(args, " "))
		if ctx.Err() == nil { // it may end by what it does, and is begun again
			t.Logf("the flood ended early: %.300s, error %v", out, err)
			for ctx.Err() == nil {
				_, _ = from.run(ctx, user, line+" "+strings.Join(args, " "))
			}
		}
	}
}

// connections is a flood of connections, to the proxy unless it says where.
func connections(s stream) func(context.Context, *testing.T, sandbox) {
	return func(ctx context.Context, t *testing.T, _ sandbox) { s.flood(ctx, t) }
}

// manyRequests has requests open to a server in the sandbox that begins to answer, and does
// not end.
func manyRequests(ctx context.Context, t *testing.T, from sandbox) {
	line, err := from.program(ctx, "flood.py")
	if err == nil {
		err = from.start(ctx, "root", line+" serve")
	}
	if err != nil {
		t.Error(err)
		return
	}
	stream{Addresses: 50, Start: fmt.Sprintf(
		"GET / HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: %s\r\nE2b-Sandbox-Port: 9100\r\n\r\n", from.ID)}.flood(ctx, t)
}

// unreadOutput runs commands that print without end, and reads none of it.
func unreadOutput(ctx context.Context, _ *testing.T, from sandbox) {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			body := `{"process":{"cmd":"/bin/cat","args":["/dev/zero"]}}`
			message := append([]byte{0, 0, 0, 0, byte(len(body))}, body...)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+server.Proxy+"/process.Process/Start",
				strings.NewReader(string(message)))
			if err != nil {
				return
			}
			req.Header.Set("Content-Type", "application/connect+json")
			resp, err := from.as("user").RoundTrip(req)
			if err == nil {
				<-ctx.Done()
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
}

// manyCreates asks for sandboxes until no more are possible, and goes on to ask. Those whose
// answer is cut off at the end live for a minute.
func manyCreates(ctx context.Context, t *testing.T, _ sandbox) {
	var made sync.Map
	var refused, created atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				var s sandbox
				err := fetch(ctx, "POST", "/v2/sandboxes", `{"templateID":"base","timeout":60}`, &s)
				if err != nil {
					refused.Add(1)
					continue
				}
				made.Store(s.ID, s)
				created.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d sandboxes created, %d creates refused", created.Load(), refused.Load())
	made.Range(func(_, s any) bool {
		s.(sandbox).kill()
		return true
	})
}

// otherTeam adds a team with a key to the store of the running server.
func otherTeam(t *testing.T) (key string) {
	t.Helper()
	_, key, err := server.AddTeam(t.Context(), shoal.DefaultTeamLimits())
	if err != nil {
		t.Fatal(err)
	}
	return key
}
