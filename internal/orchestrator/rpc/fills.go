package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/shoal"
)

// fillsAtOnce is how many questions of one machine a client works on at once; further ones wait.
const fillsAtOnce = 256

// fillAnswer is the answer to a question for values.
type fillAnswer struct {
	values []string
	err    error
}

// Fills implements the generated service.
func (s *server) Fills(
	ctx context.Context, _ *connect.Request[nodev1.FillsRequest], stream *connect.ServerStream[nodev1.Fill],
) error {
	g, ctx := errgroup.WithContext(ctx)
	messages := make(chan *nodev1.Fill) // one goroutine alone may send
	g.Go(func() error { return sendAll(ctx, stream, messages) })
	g.Go(func() error {
		return s.node.Fills(ctx, func(asker context.Context, f shoal.Fill) (map[shoal.Placeholder]string, error) {
			return s.fill(asker, ctx.Done(), messages, f)
		})
	})
	return encodeError(g.Wait())
}

// fill sends a question, and waits for its answer.
func (s *server) fill(
	ctx context.Context, gone <-chan struct{}, messages chan<- *nodev1.Fill, f shoal.Fill,
) (map[shoal.Placeholder]string, error) {
	id := shoal.NewRequestID()
	answer := s.fills.expect(id)
	defer s.fills.take(id)
	message := &nodev1.Fill{Id: id, SandboxId: f.SandboxID, Domain: f.Domain}
	for _, p := range f.Wanted {
		message.Wanted = append(message.Wanted, &nodev1.Placeholder{Kind: string(p.Kind), Name: p.Name})
	}
	select {
	case messages <- message:
	case <-gone:
		return nil, shoal.ErrFillerGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case got := <-answer:
		return got.of(f)
	case <-gone:
		return nil, shoal.ErrFillerGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// of pairs the values with the placeholders of the question.
func (a fillAnswer) of(f shoal.Fill) (map[shoal.Placeholder]string, error) {
	if a.err != nil {
		return nil, a.err
	}
	if len(a.values) != len(f.Wanted) {
		return nil, fmt.Errorf("an api gave %d values for %d placeholders", len(a.values), len(f.Wanted))
	}
	values := make(map[shoal.Placeholder]string, len(f.Wanted))
	for i, p := range f.Wanted {
		values[p] = a.values[i]
	}
	return values, nil
}

// Filled implements the generated service.
func (s *server) Filled(
	_ context.Context, r *connect.Request[nodev1.FilledRequest],
) (*connect.Response[nodev1.FilledResponse], error) {
	if answer := s.fills.take(r.Msg.Id); answer != nil {
		got := fillAnswer{values: r.Msg.Values}
		if r.Msg.Error != nil {
			if got.err = decodeKnown(r.Msg.Error); got.err == nil {
				got.err = errors.New(r.Msg.Error.Message)
			}
		}
		answer <- got
	}
	return reply(&nodev1.FilledResponse{}, nil)
}

// Fills implements shoal.Node.
func (c *Client) Fills(
	ctx context.Context, fill func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(wakeSilence, cancel)
	defer silence.Stop()
	stream, err := c.service.Fills(ctx, connect.NewRequest(&nodev1.FillsRequest{}))
	if err != nil {
		return decodeError(c.address, err)
	}
	defer stream.Close()
	var g errgroup.Group
	g.SetLimit(fillsAtOnce)
	for stream.Receive() {
		silence.Reset(wakeSilence)
		if m := stream.Msg(); m.Id != "" {
			g.Go(func() error {
				c.fill(ctx, m, fill)
				return nil
			})
		}
	}
	cancel()
	_ = g.Wait()
	if err := stream.Err(); err != nil {
		return decodeError(c.address, err)
	}
	return shoal.ErrNodeUnreachable.New("A machine's orchestrator has ended its stream of questions")
}

// fill answers one question. If the answer cannot be sent, the machine's waiting ends by itself.
func (c *Client) fill(
	ctx context.Context, m *nodev1.Fill,
	fill func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error),
) {
	asked := shoal.Fill{SandboxID: m.SandboxId, Domain: m.Domain}
	for _, p := range m.Wanted {
		asked.Wanted = append(asked.Wanted, shoal.Placeholder{Kind: shoal.PlaceholderKind(p.Kind), Name: p.Name})
	}
	in := &nodev1.FilledRequest{Id: m.Id}
	values, err := fill(ctx, asked)
	if err != nil {
		in.Error = encodeKnown(shoal.AsError(err))
	}
	for _, p := range asked.Wanted {
		if err == nil {
			in.Values = append(in.Values, values[p])
		}
	}
	_, _ = c.service.Filled(ctx, connect.NewRequest(in))
}
