package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/shoal"
)

const (
	// wakeBeat is the pause between messages that say nothing, which tell both sides that the
	// other is there.
	wakeBeat = 15 * time.Second
	// wakeSilence is how long a client waits for a message.
	wakeSilence = 3 * wakeBeat
	// wakesAtOnce is how many wake-ups of one machine a client works on at once; further ones
	// wait.
	wakesAtOnce = 64
)

// closingKey leads to a context of the server, which ends when it is shut down: it would wait
// for streams that never end.
type closingKey struct{}

func closing(ctx context.Context) <-chan struct{} {
	if c, ok := ctx.Value(closingKey{}).(context.Context); ok {
		return c.Done()
	}
	return nil
}

// awaited are the questions that were sent and not answered yet.
type awaited[A any] struct {
	mu      sync.Mutex // guards waiting; a leaf
	waiting map[string]chan A
}

func (w *awaited[A]) expect(id string) chan A {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = map[string]chan A{}
	}
	answer := make(chan A, 1)
	w.waiting[id] = answer
	return answer
}

// take returns where the answer to a question is awaited; nil if nobody waits any more.
func (w *awaited[A]) take(id string) chan A {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := w.waiting[id]
	delete(w.waiting, id)
	return answer
}

// sendAll sends messages, and empty ones between them, until ctx ends or the server is shut down.
func sendAll[M any](ctx context.Context, stream *connect.ServerStream[M], messages <-chan *M) error {
	beat := time.NewTicker(wakeBeat)
	defer beat.Stop()
	message := new(M)
	for {
		if err := stream.Send(message); err != nil {
			return err
		}
		select {
		case message = <-messages:
		case <-beat.C:
			message = new(M)
		case <-closing(ctx):
			return shoal.ErrUnavailable.New("The machine is shutting down")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Wakes implements the generated service.
func (s *server) Wakes(
	ctx context.Context, _ *connect.Request[nodev1.WakesRequest], stream *connect.ServerStream[nodev1.Wake],
) error {
	g, ctx := errgroup.WithContext(ctx)
	messages := make(chan *nodev1.Wake) // one goroutine alone may send
	g.Go(func() error { return sendAll(ctx, stream, messages) })
	g.Go(func() error {
		return s.node.Wakes(ctx, func(asker context.Context, w shoal.Wake) error {
			return s.wake(asker, ctx.Done(), messages, w)
		})
	})
	return encodeError(g.Wait())
}

// wake sends a wake-up, and waits for its answer.
func (s *server) wake(
	ctx context.Context, gone <-chan struct{}, messages chan<- *nodev1.Wake, w shoal.Wake,
) error {
	id := shoal.NewRequestID()
	answer := s.wakes.expect(id)
	defer s.wakes.take(id)
	message := &nodev1.Wake{Id: id, SandboxId: w.SandboxID, TeamId: w.TeamID, TeamLimit: int32(w.TeamLimit),
		Timeout: durationpb.New(w.Timeout)}
	select {
	case messages <- message:
	case <-gone:
		return shoal.ErrWakerGone
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-gone:
		return shoal.ErrWakerGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Woken implements the generated service.
func (s *server) Woken(
	_ context.Context, r *connect.Request[nodev1.WokenRequest],
) (*connect.Response[nodev1.WokenResponse], error) {
	if answer := s.wakes.take(r.Msg.Id); answer != nil {
		var err error
		if r.Msg.Error != nil {
			if err = decodeKnown(r.Msg.Error); err == nil {
				err = errors.New(r.Msg.Error.Message)
			}
		}
		answer <- err
	}
	return reply(&nodev1.WokenResponse{}, nil)
}

// Wakes implements shoal.Node.
func (c *Client) Wakes(ctx context.Context, resume func(context.Context, shoal.Wake) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(wakeSilence, cancel)
	defer silence.Stop()
	stream, err := c.service.Wakes(ctx, connect.NewRequest(&nodev1.WakesRequest{}))
	if err != nil {
		return decodeError(c.address, err)
	}
	defer stream.Close()
	var g errgroup.Group
	g.SetLimit(wakesAtOnce)
	for stream.Receive() {
		silence.Reset(wakeSilence)
		if m := stream.Msg(); m.Id != "" {
			g.Go(func() error {
				c.woken(ctx, m.Id, resume(ctx, shoal.Wake{SandboxID: m.SandboxId, TeamID: m.TeamId,
					TeamLimit: int(m.TeamLimit), Timeout: m.Timeout.AsDuration()}))
				return nil
			})
		}
	}
	cancel()
	_ = g.Wait()
	if err := stream.Err(); err != nil {
		return decodeError(c.address, err)
	}
	return shoal.ErrNodeUnreachable.New("A machine's orchestrator has ended its stream of wake-ups")
}

// woken tells the machine how a wake-up has ended. If that cannot be told, the machine sees
// whether the sandbox runs.
func (c *Client) woken(ctx context.Context, id string, err error) {
	in := &nodev1.WokenRequest{Id: id}
	if err != nil {
		in.Error = encodeKnown(shoal.AsError(err))
	}
	_, _ = c.service.Woken(ctx, connect.NewRequest(in))
}
