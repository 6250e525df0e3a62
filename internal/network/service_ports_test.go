package network

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestServicePort(t *testing.T) {
	for _, c := range []struct{ low, high, first, last int }{
		{32768, 60999, 61000, 65535}, // as Linux comes
		{1024, 65535, 1024, 65535},
		{15000, 65000, 1024, 14999},
		{1024, 60999, 61000, 65535},
		{1500, 65535, 1500, 65535},
	} {
		for range 2000 {
			if p := servicePort(c.low, c.high); p < c.first || p > c.last {
				t.Fatalf("%d-%d: got port %d, want %d-%d", c.low, c.high, p, c.first, c.last)
			}
		}
	}
}

func TestBothProtocolsHaveOnePort(t *testing.T) {
	packets, listener, err := listenBoth("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	defer listener.Close()
	if udp, tcp := packets.LocalAddr().String(), listener.Addr().String(); udp != tcp {
		t.Errorf("UDP at %s, TCP at %s", udp, tcp)
	}
}

// TestPortOfADeadService: the rules outlive the services. What listens at such a port then
// is reached by the host's own programs.
func TestPortOfADeadService(t *testing.T) {
	w := newWorld(t, nil)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(w.pool.loop.port())))
	w.pool.loop.close()
	listener, err := net.Listen("tcp4", address)
	w.must(err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	w.must(err)
	response, err := http.DefaultClient.Do(request)
	w.must(err)
	response.Body.Close()
}
