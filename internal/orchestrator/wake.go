package orchestrator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"shoal/internal/shoal"
)

// wakeTime is how long a waker may take to begin the resume that it was asked for, or to say
// why not. It may have to ask other machines first.
const wakeTime = 15 * time.Second

// wakers are who resumes sandboxes that traffic comes for: apis, which know what teams run and
// may run.
type wakers struct {
	calls singleflight.Group // by sandbox

	mu   sync.Mutex // guards list; a leaf
	list []*waker   // the one asked first is the first
}

// waker is one call of Wakes.
type waker struct {
	resume func(context.Context, shoal.Wake) error
	gone   context.CancelCauseFunc
}

// errNoAnswer means that a waker has let wakeTime pass.
var errNoAnswer = errors.New("a wake-up was not answered")

// Wakes implements shoal.Node.
func (o *Orchestrator) Wakes(ctx context.Context, resume func(context.Context, shoal.Wake) error) error {
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	w := &waker{resume: resume, gone: gone}
	o.wakers.mu.Lock()
	o.wakers.list = append(o.wakers.list, w)
	o.wakers.mu.Unlock()
	defer o.wakers.drop(w)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-o.tasks.stopped:
		return shoal.ErrUnavailable.New("The machine is shutting down")
	}
}

func (w *wakers) first() *waker {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) == 0 {
		return nil
	}
	return w.list[0]
}

// wake has a paused sandbox resumed, once for all who ask meanwhile: by a waker, or alone if
// there is none.
func (w *wakers) wake(
	ctx context.Context, sb *sandbox, wake shoal.Wake, alone func(context.Context, shoal.Wake) error,
) error {
	done := w.calls.DoChan(sb.id, func() (any, error) {
		// Others wait for it too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTime)
		defer cancel()
		for first := w.first(); first != nil; first = w.first() {
			err := first.ask(ctx, sb, wake)
			if !errors.Is(err, errNoAnswer) {
				return nil, err
			}
			first.gone(err)
			w.drop(first)
		}
		return nil, alone(ctx, wake)
	})
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *wakers) drop(gone *waker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(other *waker) bool { return other == gone })
}

// ask has a waker resume the sandbox. The error is errNoAnswer if it does nothing of the kind.
func (w *waker) ask(ctx context.Context, sb *sandbox, wake shoal.Wake) error {
	answer := make(chan error, 1)
	go func() { answer <- w.resume(ctx, wake) }() // ends with ctx
	timer := time.NewTimer(wakeTime)
	defer timer.Stop()
	for {
		select {
		case err := <-answer:
			if errors.Is(err, shoal.ErrWakerGone) {
				return errNoAnswer
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			if sb.rests() {
				return errNoAnswer
			}
		}
	}
}

// rests reports whether the sandbox is paused and nothing is under way that changes it.
func (s *sandbox) rests() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view.State == shoal.StatePaused && s.current == nil
}
