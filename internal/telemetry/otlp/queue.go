package otlp

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// queue holds what waits to be sent.
type queue[T any] struct {
	items         chan T
	dropped, sent prometheus.Counter
}

func newQueue[T any](dropped, sent prometheus.Counter) *queue[T] {
	return &queue[T]{items: make(chan T, queueSize), dropped: dropped, sent: sent}
}

// offer never waits: if there is no room, the item is dropped.
func (q *queue[T]) offer(item T) {
	select {
	case q.items <- item:
	default:
		q.dropped.Inc()
	}
}

// run sends batches until ctx ends, and then what is left for as long as lastTime.
func (q *queue[T]) run(ctx context.Context, send func(context.Context, []T) error) {
	for {
		select {
		case <-ctx.Done():
			q.drain(context.WithoutCancel(ctx), send)
			return
		case item := <-q.items:
			q.send(context.WithoutCancel(ctx), sendTime, q.gather(ctx, item), send)
		}
	}
}

// gather waits a while for what can go with an item.
func (q *queue[T]) gather(ctx context.Context, first T) []T {
	batch := []T{first}
	timer := time.NewTimer(batchTime)
	defer timer.Stop()
	for len(batch) < batchSize {
		select {
		case item := <-q.items:
			batch = append(batch, item)
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		break
	}
	return batch
}

func (q *queue[T]) send(ctx context.Context, limit time.Duration, batch []T, send func(context.Context, []T) error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := send(ctx, batch); err != nil {
		q.dropped.Add(float64(len(batch)))
		return
	}
	q.sent.Add(float64(len(batch)))
}

func (q *queue[T]) drain(ctx context.Context, send func(context.Context, []T) error) {
	ctx, cancel := context.WithTimeout(ctx, lastTime)
	defer cancel()
	for {
		var batch []T
		for len(batch) < batchSize && len(q.items) > 0 {
			batch = append(batch, <-q.items)
		}
		if len(batch) == 0 {
			return
		}
		q.send(ctx, lastTime, batch, send)
	}
}
