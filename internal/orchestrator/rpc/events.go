package rpc

import (
	"context"

	"connectrpc.com/connect"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/shoal"
)

// Events implements the generated service. A server that is shut down waits for no events.
func (s *server) Events(
	ctx context.Context, r *connect.Request[nodev1.EventsRequest],
) (*connect.Response[nodev1.EventsResponse], error) {
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	batch, err := s.node.Events(ctx, decodeMark(r.Msg.After))
	out := &nodev1.EventsResponse{Next: encodeMark(batch.Next)}
	for _, e := range batch.Events {
		out.Events = append(out.Events, encodeEvent(e))
	}
	return reply(out, err)
}

// untilClosing returns a context that also ends when the server is shut down.
func untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	closing, ok := ctx.Value(closingKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(closing, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Events implements shoal.Node.
func (c *Client) Events(ctx context.Context, after shoal.EventMark) (shoal.EventBatch, error) {
	out, err := call(ctx, c, c.service.Events, &nodev1.EventsRequest{After: encodeMark(after)})
	if err != nil {
		return shoal.EventBatch{}, err
	}
	batch := shoal.EventBatch{Next: decodeMark(out.Next)}
	for _, e := range out.Events {
		batch.Events = append(batch.Events, decodeEvent(e))
	}
	return batch, nil
}
