package engine

import (
	"context"
	"sync"
	"time"

	"shoal/internal/build"
	"shoal/internal/envdapi/client"
)

// lookEvery is how often a step's command is looked at while it runs.
const lookEvery = 3 * time.Second

const leftover = "the command has ended, but a process that it left in the background still holds its output. " +
	"Redirect that process's output (>/dev/null 2>&1), or the build waits until it ends"

// runWatched runs a command of a step. What the command leaves in the background can
// keep its output open, and the step waiting, long after its end; the log says so.
func runWatched(ctx context.Context, guest Guest, cmd client.Command, out *lines) error {
	watched, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	return guest.Run(ctx, cmd, func(pid uint32) {
		watching.Go(func() {
			tick := time.NewTicker(lookEvery)
			defer tick.Stop()
			lives := func() bool {
				alive, err := guest.Lives(watched, pid)
				return alive || err != nil // a guest that does not answer ends Run
			}
			if outlived(watched, tick.C, lives) {
				out.warn(leftover)
			}
		})
	}, out.take)
}

// outlived reports that a command had ended at two looks after each other, before ctx
// did. The first alone may come while the last of its output is on its way.
func outlived(ctx context.Context, look <-chan time.Time, lives func() bool) bool {
	for ended := false; ; {
		select {
		case <-ctx.Done():
			return false
		case <-look:
		}
		if lives() {
			ended = false
		} else if ended {
			return ctx.Err() == nil
		} else {
			ended = true
		}
	}
}

// warn logs what is no output, but of its command.
func (l *lines) warn(text string) { l.log.Write(build.Warn, l.step, l.prefix+" "+text) }
