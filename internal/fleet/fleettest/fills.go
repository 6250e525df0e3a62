package fleettest

import (
	"context"
	"slices"

	"shoal/internal/shoal"
)

type fillFunc = func(context.Context, shoal.Fill) (map[shoal.Placeholder]string, error)

// Fills has fill called by Fill until ctx ends.
func (n *Node) Fills(ctx context.Context, fill fillFunc) error {
	n.mu.Lock()
	n.fillers = append(n.fillers, &fill)
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fillers = slices.DeleteFunc(n.fillers, func(other *fillFunc) bool { return other == &fill })
	return ctx.Err()
}

// Fill is a question of the machine for values, which whoever called Fills last answers.
func (n *Node) Fill(ctx context.Context, asked shoal.Fill) (map[shoal.Placeholder]string, error) {
	n.mu.Lock()
	fillers := slices.Clone(n.fillers)
	n.mu.Unlock()
	if len(fillers) == 0 {
		return nil, shoal.ErrFillerGone
	}
	return (*fillers[len(fillers)-1])(ctx, asked)
}

// Fillers is how many can be asked.
func (n *Node) Fillers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.fillers)
}
