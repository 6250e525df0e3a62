package share

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"shoal/internal/unixsocket"
)

// Question is what a server is asked; without anything, how it is.
type Question struct {
	// Save ends the connection with the guest, which stands still, and asks for the state. The connection is made
	// again when the server is told to go on, or after a minute.
	Save bool `json:"save,omitempty"`
	GoOn bool `json:"goOn,omitempty"`
}

// Answer is the answer to any question. Why is why the last try to connect failed; Refused, that the guest's first
// program has said so.
type Answer struct {
	Connected bool   `json:"connected"`
	Why       string `json:"why,omitempty"`
	Refused   bool   `json:"refused,omitempty"`
	State     *State `json:"state,omitempty"`
}

// ErrAway means that no server answers.
var ErrAway = errors.New("the server of the volume does not answer")

// maxState bounds a state, in bytes.
const maxState = 512 << 20

// Ask asks the server that listens on a socket.
func Ask(ctx context.Context, socket string, q Question) (Answer, error) {
	var a Answer
	conn, err := unixsocket.Dial(ctx, socket)
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	err = json.NewEncoder(conn).Encode(q)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(conn, maxState)).Decode(&a)
	}
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrAway, errors.Join(err, ctx.Err()))
	}
	return a, nil
}

// AwaitConnection waits until the server on a socket serves its guest. done is closed when it has ended. What
// the guest's first program refuses is an error at once.
func AwaitConnection(ctx context.Context, socket string, done <-chan struct{}) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := Ask(ctx, socket, Question{})
		if err == nil && a.Connected {
			return nil
		}
		if err == nil && a.Refused {
			return errors.New(a.Why)
		}
		select {
		case <-tick.C:
		case <-done:
			return errors.Join(err, ErrAway)
		case <-ctx.Done():
			return errors.Join(err, ctx.Err(), errors.New(a.Why))
		}
	}
}
