package issuer

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// published is something that an issuer publishes, as it was had last.
type published[T any] struct {
	fetch func(context.Context) (T, error)
	now   func() time.Time
	none  error // why there is nothing, if no asking has failed

	asking singleflight.Group

	mu    sync.Mutex // guards the rest
	known T
	at    time.Time // when it was had
	asked time.Time // when the issuer was last asked, with or without success
	err   error     // how that ended
}

// last returns what is known, and whether it need not be asked for again. The error says why
// nothing is known.
func (p *published[T]) last() (known T, fresh bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := p.now().Sub(p.at)
	if !p.at.IsZero() && age < staleTime {
		return p.known, age < keysTime, nil
	}
	if p.err == nil {
		return known, false, p.none
	}
	return known, false, p.err
}

func (p *published[T]) mayAsk() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now().Sub(p.asked) >= pause
}

// ask asks the issuer. Those who wait share the asking, so it must not end with the first one's
// request.
func (p *published[T]) ask(ctx context.Context) {
	shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	_, _, _ = p.asking.Do("", func() (any, error) {
		if !p.mayAsk() { // another request has, since this one looked
			return nil, nil
		}
		had, err := p.fetch(shared)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.asked, p.err = p.now(), err; err == nil {
			p.known, p.at = had, p.asked
		}
		return nil, nil
	})
}
