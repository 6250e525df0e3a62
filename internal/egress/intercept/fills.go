package intercept

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/sync/singleflight"

	"shoal/internal/shoal"
)

const (
	// keepFill is how long a value is used again. A secret that was changed or removed goes on to
	// be used for as long.
	keepFill = 15 * time.Second
	// maxFills bounds the uses that are kept.
	maxFills = 4096
	// fillTime bounds the wait for a value.
	fillTime = 20 * time.Second
)

// fills keeps values for a moment, so that not every request asks for them.
type fills struct {
	filler Filler
	asking singleflight.Group

	mu   sync.Mutex
	kept map[string]values // by use
}

type values = map[shoal.Placeholder]string

func newFills(filler Filler) *fills { return &fills{filler: filler, kept: map[string]values{}} }

// headers returns a transform's headers with all values in their places. some tells whether there
// are any.
func (f *fills) headers(
	ctx context.Context, sandboxID, domain string, t shoal.Transform,
) (filled map[string]string, some bool, err error) {
	wanted, err := placeholders(t)
	if err != nil || len(wanted) == 0 {
		return t.Headers, err != nil, err
	}
	given, err := f.values(ctx, sandboxID, domain, wanted)
	if err != nil {
		return nil, true, err
	}
	filled = make(map[string]string, len(t.Headers))
	for name, value := range t.Headers {
		value = shoal.FillPlaceholders(value, given)
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, true, shoal.ErrTransformFill.New("The value for the header %s is none that a header can have", name)
		}
		filled[name] = value
	}
	return filled, true, nil
}

// placeholders returns those of a transform, each once, in a fixed order.
func placeholders(t shoal.Transform) ([]shoal.Placeholder, error) {
	var wanted []shoal.Placeholder
	for _, value := range t.Headers {
		found, err := shoal.ParsePlaceholders(value)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, found...)
	}
	slices.SortFunc(wanted, func(a, b shoal.Placeholder) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(wanted), nil
}

// values returns what was kept for this use, or asks for it: once for all who wait.
func (f *fills) values(
	ctx context.Context, sandboxID, domain string, wanted []shoal.Placeholder,
) (values, error) {
	use := fmt.Sprintf("%q %q %v", sandboxID, domain, wanted) // for no other sandbox or domain
	f.mu.Lock()
	given, have := f.kept[use]
	f.mu.Unlock()
	if have {
		return given, nil
	}
	asked := f.asking.DoChan(use, func() (any, error) {
		// Whoever asks is not to fail the others by going away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fillTime)
		defer cancel()
		given, err := f.filler.Fill(ctx, sandboxID, domain, wanted)
		if err != nil {
			return nil, err
		}
		for _, p := range wanted {
			if _, ok := given[p]; !ok {
				return nil, shoal.ErrTransformFill.New("%s has no value", p)
			}
		}
		f.keep(use, given)
		return given, nil
	})
	select {
	case answer := <-asked:
		if answer.Err != nil {
			return nil, answer.Err
		}
		return answer.Val.(values), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keep keeps values; a timer of their own removes them.
func (f *fills) keep(use string, given values) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.kept) >= maxFills {
		return
	}
	f.kept[use] = given
	time.AfterFunc(keepFill, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.kept, use)
	})
}
