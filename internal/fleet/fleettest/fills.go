package fleettest

import (
	"context"

	"shoal/internal/shoal"
)

// Fills has fill called by Fill until ctx ends.
func (n *Node) Fills(
	ctx context.Context, fill func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error),
) error {
	n.mu.Lock()
	n.filler = fill
	n.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// Fill is a question of the machine for values. It is nothing if nobody has called Fills.
func (n *Node) Fill(ctx context.Context, asked shoal.Fill) (map[shoal.Placeholder]string, error) {
	n.mu.Lock()
	filler := n.filler
	n.mu.Unlock()
	if filler == nil {
		return nil, shoal.ErrFillerGone
	}
	return filler(ctx, asked)
}
