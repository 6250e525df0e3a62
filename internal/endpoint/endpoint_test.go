package endpoint

import (
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"
)

// TestAddressesShareBounds: two addresses of an endpoint hold no more connections than one.
func TestAddressesShareBounds(t *testing.T) {
	listeners, err := Listen("127.0.0.1:0", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	server := (&Domain{Name: "box.example", API: told("api")}).NewServer(false, slog.New(slog.DiscardHandler))
	var w waiting
	served := make(chan error, 1)
	go func() { served <- w.serve(server, listeners, 4, 4) }()
	defer func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("it ended by %v", err)
		}
	}()
	for i := range 20 {
		if got := connect(t, listeners[i%2].Addr().String()).get("/"); got != http.StatusMisdirectedRequest {
			t.Fatalf("connection %d: %d", i, got)
		}
		w.awaitIdle(t, 0) // else all are busy, and the next one is refused
	}
	for end := time.Now().Add(10 * time.Second); ; {
		w.mu.Lock()
		n := len(w.clients)
		w.mu.Unlock()
		if n == 4 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections", n)
		}
	}
}
