package fills

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

type fillerFunc func(sandboxID, domain string, wanted []shoal.Placeholder) (map[shoal.Placeholder]string, error)

func (f fillerFunc) Fill(_ context.Context, sandboxID, domain string, wanted []shoal.Placeholder) (map[shoal.Placeholder]string, error) {
	return f(sandboxID, domain, wanted)
}

// serveFills answers in a run directory until the test ends, or stop is called.
func serveFills(t *testing.T, runDir string, f Filler) (stop func()) {
	t.Helper()
	l, err := Listen(runDir)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(f)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	return func() {
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// TestSocket: questions are answered over the socket, errors come as they are in the catalogue and
// without what lies under them, and a restart of the other side is not noticed.
func TestSocket(t *testing.T) {
	dir := t.TempDir()
	a := shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: "a"}
	b := shoal.Placeholder{Kind: shoal.PlaceholderToken, Name: "b"}
	filler := fillerFunc(func(sandboxID, domain string, wanted []shoal.Placeholder) (map[shoal.Placeholder]string, error) {
		switch sandboxID {
		case "refused":
			return nil, shoal.ErrFillRefused.Wrap(errors.New("host path"), "no").Because("why")
		case "broken":
			return nil, errors.New("host path")
		case "short":
			return nil, nil
		}
		return map[shoal.Placeholder]string{a: "1\n" + domain, b: strings.Repeat("v", shoal.MaxSecretValue)}, nil
	})
	stop := serveFills(t, dir, filler)
	c := NewClient(Socket(dir))
	ask := func(sandboxID string) (map[shoal.Placeholder]string, error) {
		return c.Fill(t.Context(), sandboxID, "d", []shoal.Placeholder{b, a})
	}
	for range 2 {
		got, err := ask("i")
		if err != nil || got[a] != "1\nd" || len(got[b]) != shoal.MaxSecretValue {
			t.Errorf("%d values, %v", len(got), err)
		}
		stop()
		if _, err := ask("i"); !shoal.ErrFillUnavailable.Matches(err) {
			t.Errorf("nobody is there: %v", err)
		}
		stop = serveFills(t, dir, filler)
	}
	defer stop()
	for sandboxID, kind := range map[string]*shoal.Kind{"refused": shoal.ErrFillRefused, "broken": shoal.ErrInternal, "short": shoal.ErrFillRefused} {
		if _, err := ask(sandboxID); !kind.Matches(err) || strings.Contains(err.Error(), "host path") {
			t.Errorf("%s: %v", sandboxID, err)
		}
	}
	if _, err := c.Fill(t.Context(), "i", "d", make([]shoal.Placeholder, shoal.MaxFill+1)); !shoal.ErrBadRequest.Matches(err) {
		t.Error(err)
	}
	if info, err := os.Stat(Socket(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
