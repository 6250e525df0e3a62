package attack

import (
	"context"
	"fmt"
	"io"
	"net"
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
	{"idle connections", connections(1, "", 0)},
	{"idle connections from many addresses", connections(50, "", 0)},
	{"half requests", connections(1, "GET / HTTP/1.1\r\nHost: ", 0)},
	{"dripping requests from many addresses", connections(50, "GET / HTTP/1.1\r\nX: ", time.Second)},
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

// manyAtOnce is how many connections and requests the floods from outside have open.
const manyAtOnce = 10_000

// connections opens connections to the proxy, from addresses that are not the probe's. They
// send the start of a request and then, if pace is not 0, a byte at a time. What is closed is
// opened again.
func connections(addresses int, start string, pace time.Duration) func(context.Context, *testing.T, sandbox) {
	return func(ctx context.Context, _ *testing.T, _ sandbox) {
		hold(ctx, func(ctx context.Context, n int) {
			conn, err := dialFrom(ctx, n%addresses)
			if err != nil {
				return
			}
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			_, err = io.WriteString(conn, start)
			for err == nil && pace > 0 {
				time.Sleep(pace)
				_, err = io.WriteString(conn, "x")
			}
			if err == nil {
				_, _ = io.Copy(io.Discard, conn)
			}
		})
	}
}

// dialFrom connects to the proxy from one of the loopback addresses.
func dialFrom(ctx context.Context, number int) (net.Conn, error) {
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+number))}}
	return from.DialContext(ctx, "tcp", server.Proxy)
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
	hold(ctx, func(ctx context.Context, n int) {
		conn, err := dialFrom(ctx, n%50)
		if err != nil {
			return
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: %s\r\nE2b-Sandbox-Port: 9100\r\n\r\n", from.ID)
		if err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	})
}

// hold keeps manyAtOnce calls of f going, each with its number, and a short pause between the
// end of one and the next.
func hold(ctx context.Context, f func(ctx context.Context, n int)) {
	var wg sync.WaitGroup
	for n := range manyAtOnce {
		wg.Go(func() {
			for ctx.Err() == nil {
				f(ctx, n)
				select {
				case <-ctx.Done():
				case <-time.After(500 * time.Millisecond):
				}
			}
		})
		if n%500 == 499 {
			time.Sleep(50 * time.Millisecond) // a burst of all of them would only fill the host's queues
		}
	}
	wg.Wait()
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
			resp, err := identity{from, "user"}.RoundTrip(req)
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
