// Package telemetry measures how long the phases of an operation take, and tells the traces that
// they are part of.
package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Phase is one timed part of an operation. Phases may overlap.
type Phase struct {
	Name     string
	Start    time.Duration // since the recorder was made
	Duration time.Duration
}

// Phases records the phases of one operation. It is safe for concurrent use.
type Phases struct {
	begin time.Time
	mu    sync.Mutex
	list  []Phase
}

type phasesKey struct{}

// WithPhases returns a context whose Begin calls are recorded.
func WithPhases(ctx context.Context) (context.Context, *Phases) {
	p := &Phases{begin: time.Now()}
	return context.WithValue(ctx, phasesKey{}, p), p
}

// Begin starts a phase, which is a span too where ctx is in a trace; the returned function ends
// it. Both do nothing if the context has neither a recorder nor a trace.
func Begin(ctx context.Context, name string) (end func()) {
	p, _ := ctx.Value(phasesKey{}).(*Phases)
	_, span := Start(ctx, name)
	switch {
	case p == nil && !span.Recorded():
		return nothing
	case p == nil:
		return func() { span.End(nil) }
	}
	start := time.Since(p.begin)
	return func() {
		span.End(nil)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.list = append(p.list, Phase{Name: name, Start: start, Duration: time.Since(p.begin) - start})
	}
}

func nothing() {}

// List returns the ended phases in the order they ended.
func (p *Phases) List() []Phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Phase(nil), p.list...)
}

// Total is the time since the recorder was made.
func (p *Phases) Total() time.Duration { return time.Since(p.begin) }

// LogValue renders the phases as one group of milliseconds.
func (p *Phases) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, phase := range p.List() {
		attrs = append(attrs, slog.Float64(phase.Name, Milliseconds(phase.Duration)))
	}
	return slog.GroupValue(attrs...)
}

// Milliseconds converts to fractional milliseconds with microsecond resolution.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
