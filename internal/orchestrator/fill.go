package orchestrator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"shoal/internal/shoal"
)

const (
	// fillTime is how long one filler may take, and fillLimit all of them together.
	fillTime  = 5 * time.Second
	fillLimit = 10 * time.Second
)

// fillers are who knows the values of placeholders: apis.
type fillers struct {
	stopped <-chan struct{} // closed when the machine shuts down

	mu   sync.Mutex // guards list; a leaf
	list []*filler  // the one asked first is the first
}

// filler is one call of Fills.
type filler struct {
	fill func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error)
	gone context.CancelCauseFunc
}

// errUnfilled means that a filler has let fillTime pass.
var errUnfilled = errors.New("a question for values of placeholders was not answered")

// Fills implements shoal.Node.
func (f *fillers) Fills(
	ctx context.Context, fill func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error),
) error {
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	one := &filler{fill: fill, gone: gone}
	f.mu.Lock()
	f.list = append(f.list, one)
	f.mu.Unlock()
	defer f.drop(one)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.stopped:
		return shoal.ErrUnavailable.New("The machine is shutting down")
	}
}

// Fill returns the values of placeholders in a sandbox's headers for a domain, as an api knows them.
// ErrFillRefused if the sandbox cannot have one, ErrFillUnavailable if no api answers in time.
func (f *fillers) Fill(
	ctx context.Context, sandboxID, domain string, wanted []shoal.Placeholder,
) (map[shoal.Placeholder]string, error) {
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	for first := f.first(); first != nil; first = f.first() {
		values, err := first.ask(ctx, shoal.Fill{SandboxID: sandboxID, Domain: domain, Wanted: wanted})
		switch {
		case ctx.Err() != nil:
			return nil, errUnfillable(ctx.Err())
		case errors.Is(err, errUnfilled), errors.Is(err, shoal.ErrFillerGone):
			first.gone(err)
			f.drop(first)
			continue
		}
		return values, err
	}
	return nil, errUnfillable(nil)
}

func errUnfillable(err error) error {
	return shoal.ErrFillUnavailable.Wrap(err, "Headers cannot be filled in now")
}

func (f *fillers) first() *filler {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) == 0 {
		return nil
	}
	return f.list[0]
}

func (f *fillers) drop(gone *filler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = slices.DeleteFunc(f.list, func(other *filler) bool { return other == gone })
}

// ask is bounded by fillTime, whatever the filler does.
func (f *filler) ask(ctx context.Context, asked shoal.Fill) (map[shoal.Placeholder]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fillTime, errUnfilled)
	defer cancel()
	type filled struct {
		values map[shoal.Placeholder]string
		err    error
	}
	done := make(chan filled, 1)
	go func() { // ends with ctx
		values, err := f.fill(ctx, asked)
		done <- filled{values, err}
	}()
	select {
	case got := <-done:
		return got.values, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
