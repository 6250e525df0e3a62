package rpc

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"shoal/internal/shoal"
)

type fillFunc = func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error)

// filling is a node whose questions the test asks.
func filling() (*echo, chan fillFunc) {
	ways := make(chan fillFunc)
	return &echo{fills: func(ctx context.Context, fill fillFunc) error {
		select {
		case ways <- fill:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return ctx.Err()
	}}, ways
}

// TestFills: questions and their answers go both ways, many at once, until the client goes.
func TestFills(t *testing.T) {
	node, ways := filling()
	c := client(t, serve(t, node), secret)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	a := shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: "a"}
	b := shoal.Placeholder{Kind: shoal.PlaceholderToken, Name: "a"}
	want := map[shoal.Placeholder]string{a: "one", b: "two"}
	second := make(chan struct{})
	go func() {
		ended <- c.Fills(ctx, func(_ context.Context, f shoal.Fill) (map[shoal.Placeholder]string, error) {
			switch f.SandboxID {
			case "slow":
				<-second
			case "refused":
				close(second)
				return nil, shoal.ErrFillRefused.New("no").Because("of now")
			}
			if f.Domain != "d" || len(f.Wanted) != 2 || f.Wanted[0] != b || f.Wanted[1] != a {
				t.Errorf("asked %+v", f)
			}
			return want, nil
		})
	}()
	fill := <-ways
	asked := shoal.Fill{SandboxID: "slow", Domain: "d", Wanted: []shoal.Placeholder{b, a}}
	slow := make(chan error, 1)
	go func() {
		got, err := fill(t.Context(), asked)
		if !maps.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		slow <- err
	}()
	_, err := fill(t.Context(), shoal.Fill{SandboxID: "refused"})
	if known := shoal.AsError(err); known.Kind != shoal.ErrFillRefused || known.Message != "no" || known.Detail != "of now" {
		t.Errorf("got %v", err)
	}
	if err := <-slow; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error says that it is over")
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := fill(t.Context(), asked); errors.Is(err, shoal.ErrFillerGone) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a client that has gone is not noticed")
		}
	}
}

// TestShutdownEndsFills: a server does not wait for clients of questions.
func TestShutdownEndsFills(t *testing.T) {
	node, ways := filling()
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer(NewHandler(node, secret, http.NotFoundHandler()))
	server.Start()
	defer server.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- client(t, server.Listener.Addr().String(), secret).Fills(t.Context(),
			func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error) { return nil, nil })
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
