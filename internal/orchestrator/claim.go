package orchestrator

import "context"

// claim makes a guest that was started ahead the sandbox's.
func (g *guests) claim(ctx context.Context, sb *sandbox, w *warmGuest, l lease) error {
	if err := g.enter(sb, w.Guest); err != nil {
		return err
	}
	g.watch(sb, w.Guest)
	done, err := g.claims.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if egress := sb.egressNow(); !egress.Equal(g.keeper.openEgress) {
		// Before anything in the guest can move.
		if err := w.SetEgress(ctx, egress); err != nil {
			return err
		}
	}
	if err := w.Thaw(ctx); err != nil {
		return err
	}
	return g.initialize(ctx, sb, l)
}
