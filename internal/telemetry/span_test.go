package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// TestOffCostsNothing: what is not traced allocates nothing, and no handler is put around another.
func TestOffCostsNothing(t *testing.T) {
	ctx, header, err := context.WithValue(t.Context(), phasesKey{}, nil), http.Header{}, errors.New("x")
	if n := testing.AllocsPerRun(100, func() {
		inner, span := Start(ctx, "part")
		span.Set(Sandbox, "isb")
		span.SetNumber(Status, 200)
		Begin(inner, "phase")()
		Inject(inner, header, TraceHeader)
		Current(inner).Set(Team, "t")
		span.End(err)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(header) != 0 {
		t.Errorf("header %v", header)
	}
	var off *Tracer
	mux := http.NewServeMux()
	if off.Begin("x", mux) != http.Handler(mux) || off.GoOn("x", mux) != http.Handler(mux) {
		t.Error("a handler is around the handler")
	}
}

func TestTraceparent(t *testing.T) {
	const id, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for text, want := range map[string]bool{
		"00-" + id + "-" + span + "-01":                 true,
		"00-" + id + "-" + span + "-00":                 true,
		"cc-" + id + "-" + span + "-01-what the future": true,
		"":                                   false,
		"00-" + id + "-" + span:              false,
		"00-" + id + "-" + span + "-01-more": false, // there is no more in version 0
		"ff-" + id + "-" + span + "-01":      false,
		"00-00000000000000000000000000000000-" + span + "-01": false,
		"00-" + id + "-0000000000000000-01":                   false,
		"00-0AF7651916CD43DD8448EB211C80319C-" + span + "-01": false,
		"00-" + id + "-" + span + "-0x":                       false,
		"00_" + id + "-" + span + "-01":                       false,
		"cc-" + id + "-" + span + "-01x":                      false,
		"00-" + id[:31] + "g-" + span + "-01":                 false,
	} {
		if _, got := parse(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzTraceparent: what is read is told to the next one as it was, and nothing else.
func FuzzTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x")
	f.Fuzz(func(t *testing.T, text string) {
		sc, ok := parse(text)
		if !ok {
			return
		}
		header := http.Header{}
		Inject(trace.ContextWithSpanContext(t.Context(), sc), header, TraceHeader)
		got := header.Get(TraceHeader)
		if len(got) != 55 || got[2:53] != text[2:53] || got[:2] != "00" {
			t.Errorf("%q became %q", text, got)
		}
	})
}

// TestNoTraceNoTraceID: a log gets no ID of what is not recorded.
func TestNoTraceNoTraceID(t *testing.T) {
	sc, _ := parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	if id := TraceID(trace.ContextWithSpanContext(t.Context(), sc)); id != "" {
		t.Errorf("ID %q", id)
	}
	if id := TraceID(httptest.NewRequest("GET", "/", nil).Context()); id != "" {
		t.Errorf("ID %q", id)
	}
}
