package firecracker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/unixsocket"
)

// agent speaks to the first program of a guest, by the socket of the guest's jail.
type agent struct{ socket string }

// errNotYet means that nobody in the guest listens.
var errNotYet = errors.New("the guest's first program does not listen yet")

// ask asks one question. What the guest answers is not to be trusted, only bounded.
func (a agent) ask(ctx context.Context, q control.Request) (control.Answer, error) {
	var answer control.Answer
	conn, err := unixsocket.Dial(ctx, a.socket)
	if err != nil {
		return answer, fmt.Errorf("%w: %w", errNotYet, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	lines := bufio.NewReader(io.LimitReader(conn, control.MaxLine))
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", control.Port); err != nil {
		return answer, fmt.Errorf("%w: %w", errNotYet, err)
	}
	line, err := lines.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "OK ") {
		return answer, errors.Join(errNotYet, ctx.Err())
	}
	q.SetTime(time.Now()) // only now: a boot takes its time until somebody listens
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return answer, fmt.Errorf("ask the guest: %w", err)
	}
	line, err = lines.ReadString('\n')
	if err != nil {
		return answer, fmt.Errorf("the guest does not answer: %w", errors.Join(err, ctx.Err()))
	}
	if err := json.Unmarshal([]byte(line), &answer); err != nil {
		return answer, fmt.Errorf("the guest's answer cannot be read: %w", err)
	}
	if answer.Error != "" {
		return answer, fmt.Errorf("the guest's first program: %s", answer.Error)
	}
	return answer, nil
}

// askEvery is how long a guest that comes up is left alone between two tries.
const askEvery = 3 * time.Millisecond

// await asks until somebody listens, or done is closed.
func (a agent) await(ctx context.Context, q control.Request, done <-chan struct{}) (control.Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	defer func() { cancel(); <-stopped }()
	go func() { // ends with await
		defer close(stopped)
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		answer, err := a.ask(ctx, q)
		if err == nil || !errors.Is(err, errNotYet) {
			return answer, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return answer, errors.Join(err, ctx.Err())
		}
	}
}
