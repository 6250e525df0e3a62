package attendant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"shoal/internal/unixsocket"
)

// Client asks an attendant, on its socket.
type Client struct{ Socket string }

// ErrAway means that no attendant answers.
var ErrAway = errors.New("the guest's attendant does not answer")

// Ask asks one question.
func (c Client) Ask(ctx context.Context, q Request) (Answer, error) {
	var a Answer
	conn, err := unixsocket.Dial(ctx, c.Socket)
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return a, fmt.Errorf("%w: %w", ErrAway, err)
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxMessage)).Decode(&a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrAway, errors.Join(err, ctx.Err()))
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Await asks until somebody answers, or done is closed.
func (c Client) Await(ctx context.Context, q Request, done <-chan struct{}) (Answer, error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := c.Ask(ctx, q)
		if !errors.Is(err, ErrAway) {
			return a, err
		}
		select {
		case <-tick.C:
		case <-done:
			return a, err
		case <-ctx.Done():
			return a, errors.Join(err, ctx.Err())
		}
	}
}
