package rpc

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// waking is a node whose traffic the test sends.
func waking() (*echo, chan func(context.Context, shoal.Wake) error) {
	ways := make(chan func(context.Context, shoal.Wake) error)
	return &echo{wakes: func(ctx context.Context, resume func(context.Context, shoal.Wake) error) error {
		select {
		case ways <- resume:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return ctx.Err()
	}}, ways
}

// TestWakes: wake-ups and their answers go both ways, many at once, until the client goes.
func TestWakes(t *testing.T) {
	node, ways := waking()
	c := client(t, serve(t, node), secret)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	want := filled[shoal.Wake]()
	first := make(chan struct{})
	go func() {
		ended <- c.Wakes(ctx, func(_ context.Context, w shoal.Wake) error {
			switch w.SandboxID {
			case "slow":
				<-first
			case "full":
				close(first)
				return shoal.ErrConcurrencyLimit.New("full").Because("of now")
			default:
				if w != want {
					t.Errorf("got %+v, want %+v", w, want)
				}
			}
			return nil
		})
	}()
	wake := <-ways
	slow := make(chan error, 1)
	go func() { slow <- wake(t.Context(), shoal.Wake{SandboxID: "slow"}) }()
	if err := wake(t.Context(), want); err != nil {
		t.Error(err)
	}
	err := wake(t.Context(), shoal.Wake{SandboxID: "full"})
	if known := shoal.AsError(err); known.Kind != shoal.ErrConcurrencyLimit || known.Message != "full" || known.Detail != "of now" {
		t.Errorf("got %v", err)
	}
	if err := <-slow; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error says that it is over")
	}
	deadline := time.Now().Add(10 * time.Second)
	for !errors.Is(wake(t.Context(), want), shoal.ErrWakerGone) {
		if time.Now().After(deadline) {
			t.Fatal("a client that has gone is not noticed")
		}
	}
}

// TestShutdownEndsWakes: a server does not wait for clients of wake-ups.
func TestShutdownEndsWakes(t *testing.T) {
	node, ways := waking()
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer(NewHandler(node, secret, http.NotFoundHandler()))
	server.Start()
	defer server.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- client(t, server.Listener.Addr().String(), secret).Wakes(t.Context(),
			func(context.Context, shoal.Wake) error { return nil })
	}()
	<-ways
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the client does not hear of it")
	}
}
