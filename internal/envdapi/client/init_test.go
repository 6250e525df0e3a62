package client

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"shoal/internal/envdapi"
)

// TestInitOfASlowGuest: a daemon that has so little processor that it never answers
// within one of the first attempts is given longer.
func TestInitOfASlowGuest(t *testing.T) {
	const host, slowness = "127.49.98.3", 3 * attemptTime
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(envdapi.Port)))
	if err != nil {
		t.Fatal(err)
	}
	daemon := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(slowness):
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	}))
	daemon.Listener.Close()
	daemon.Listener = listener
	daemon.Start()
	defer daemon.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := New(host, "").Init(ctx, envdapi.Init{}); err != nil {
		t.Error(err)
	}
}
