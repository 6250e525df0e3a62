package fleettest

import (
	"context"
	"slices"

	"shoal/internal/shoal"
)

// Events returns the events that Tell has added.
func (n *Node) Events(ctx context.Context, after shoal.EventMark) (shoal.EventBatch, error) {
	for {
		n.mu.Lock()
		if taken := after.Position - n.forgotten; taken > 0 && taken <= int64(len(n.events)) {
			n.events, n.forgotten = n.events[taken:], after.Position
		}
		list, next, down, told := slices.Clone(n.events), n.forgotten+int64(len(n.events)), n.down, n.told
		n.mu.Unlock()
		batch := shoal.EventBatch{Events: list, Next: shoal.EventMark{Log: n.info.ID, Position: next}}
		if down != nil || len(list) > 0 {
			return batch, down
		}
		select {
		case <-told:
		case <-ctx.Done():
			return batch, ctx.Err()
		}
	}
}

// Tell adds events.
func (n *Node) Tell(events ...shoal.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, events...)
	close(n.told)
	n.told = make(chan struct{})
}

// Untaken returns how many events nobody has taken.
func (n *Node) Untaken() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.events)
}
