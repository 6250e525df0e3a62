package orchestrator

import (
	"context"
	"runtime"
	"sync"
	"time"

	"shoal/internal/telemetry"
)

// turns are for work that needs nothing but processors: more of it at once than there
// are processors makes all of it slower. They are given in the order of asking.
type turns chan struct{}

// turnLimit is the longest that a turn lasts, even if its work goes on: a guest that hangs
// holds up nobody.
const turnLimit = 250 * time.Millisecond

func newTurns() turns { return make(turns, runtime.NumCPU()) }

// take waits for a turn; done ends it.
func (t turns) take(ctx context.Context) (done func(), err error) {
	defer telemetry.Begin(ctx, "turn")()
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	end := sync.OnceFunc(func() { <-t })
	limit := time.AfterFunc(turnLimit, end)
	return func() {
		limit.Stop()
		end()
	}, nil
}
