package live

import (
	"context"
	"errors"
	"strconv"
	"time"

	"shoal/internal/shares"
)

// Take asks for n more of a taker's rate, of which all apis take.
func (r *Redis) Take(ctx context.Context, taker string, n int, rate shares.Rate) shares.Allowance {
	ahead := 0
	if n == 1 {
		a, ok, more := r.advances.take(taker, rate, time.Now())
		if ok {
			return a
		}
		ahead = more
	}
	var t taken
	answered := r.ask(ctx, func(ctx context.Context) (err error) {
		t, err = r.take(ctx, taker, n, ahead, rate)
		return err
	})
	if ahead > 0 {
		r.advances.put(taker, rate, t.ahead, t.level, time.Now())
	}
	if answered {
		return rate.Allow(t.granted, t.level+float64(t.ahead), n)
	}
	return r.own.Take(ctx, taker, n, r.part(rate))
}

// Give gives n back.
func (r *Redis) Give(ctx context.Context, taker string, n int, rate shares.Rate) {
	if !r.ask(ctx, func(ctx context.Context) error {
		_, err := r.take(ctx, taker, -n, 0, rate)
		return err
	}) {
		r.own.Give(ctx, taker, n, r.part(rate))
	}
}

// part is what an api grants of a rate by itself: as much as if all were asked as often as it is.
func (r *Redis) part(rate shares.Rate) shares.Rate {
	n := float64(r.apis.Load())
	return shares.Rate{PerSecond: rate.PerSecond / n, Burst: max(1, rate.Burst/n)}
}

var errAnswer = errors.New("Redis gave an answer of another form")

// taken is what Redis says of a rate.
type taken struct {
	granted bool
	level   float64 // what is left
	ahead   int     // what was taken besides
}

func (r *Redis) take(ctx context.Context, taker string, n, ahead int, rate shares.Rate) (t taken, err error) {
	answer, err := takeScript.Run(ctx, r.client, []string{r.prefix + "rate:" + taker},
		n, rate.PerSecond, rate.Burst, ahead).Slice()
	if err != nil {
		return t, err
	}
	if len(answer) != 3 {
		return t, errAnswer
	}
	granted, _ := answer[0].(int64)
	text, _ := answer[1].(string)
	more, _ := answer[2].(int64)
	if t.level, err = strconv.ParseFloat(text, 64); err != nil {
		return t, errAnswer
	}
	t.granted, t.ahead = granted == 1, int(more)
	return t, nil
}

// BeginTry counts a try as wrong, for all apis.
func (r *Redis) BeginTry(ctx context.Context, counts []Count) (wait time.Duration) {
	args := []any{firstWait.Milliseconds(), longestWait.Milliseconds(), triesForgotten.Milliseconds(), mostDoubled}
	for _, c := range counts {
		args = append(args, c.Free)
	}
	if r.ask(ctx, func(ctx context.Context) error {
		ms, err := beginTryScript.Run(ctx, r.client, r.tryKeys(counts), args...).Int64()
		wait = time.Duration(ms) * time.Millisecond
		return err
	}) {
		return wait
	}
	return r.own.BeginTry(ctx, counts)
}

// RightTry takes a try back, which may have been counted by this api alone.
func (r *Redis) RightTry(ctx context.Context, counts []Count) {
	var args []any
	for _, c := range counts {
		args = append(args, map[bool]int{true: 1}[c.Ends])
	}
	r.own.RightTry(ctx, counts)
	r.ask(ctx, func(ctx context.Context) error {
		return rightTryScript.Run(ctx, r.client, r.tryKeys(counts), args...).Err()
	})
}
