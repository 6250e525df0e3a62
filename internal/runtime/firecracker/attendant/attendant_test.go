package attendant

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

// TestAheadOfTheGuest: an attendant answers before it is told what to serve, says what is wrong with that, and goes
// on; it ends when it is told to.
func TestAheadOfTheGuest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 80))
	socket := filepath.Join(dir, "s") // longer than an address can be, as those of jails
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := Run(ctx, Config{Socket: socket, Backend: "test:ahead"}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it listens where there is no directory")
	}
	socket = filepath.Join(t.TempDir(), "s")
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, Config{Socket: socket, Backend: "test:ahead"}, slog.New(slog.DiscardHandler))
	}()
	c := Client{Socket: socket}
	missing := filepath.Join(t.TempDir(), "missing")
	for _, q := range []struct {
		Request
		want string
	}{
		{Request{Capture: &Capture{To: missing}}, "no disk"},
		{Request{Disk: &Disk{Base: missing, BaseName: "b", Overlay: missing + "-overlay"}}, "no such file"},
		{Request{Capture: &Capture{To: missing}}, "no disk"},
		{Request{}, "unknown question"},
	} {
		if _, err := c.Await(ctx, q.Request, nil); err == nil || !strings.Contains(err.Error(), q.want) {
			t.Errorf("%+v: %v, want %q", q.Request, err, q.want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}
