package engine

import (
	"context"
	"sync"
	"time"

	"shoal/internal/build"
	"shoal/internal/envdapi/client"
)

// lookEvery is how often a running step's command is checked.
const lookEvery = 3 * time.Second

const leftover = "the command has ended, but a process that it left in the background still holds its output. " +
	"Redirect that process's output (>/dev/null 2>&1), or the build waits until it ends"

// runWatched runs a command of a step. A process that the command leaves in the background
// can hold its output open, so that the step waits long after the command has exited; the
// log then warns of it.
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
				return alive || err != nil // if the guest does not answer, Run fails too
			}
			if outlived(watched, tick.C, lives) {
				out.warn(leftover)
			}
		})
	}, out.take)
}

// outlived reports that a command was found exited twice in a row before ctx was done. Once
// is not enough, because the last of its output may still be on its way.
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

// warn logs a line about the command, marked as a warning.
func (l *lines) warn(text string) { l.log.Write(build.Warn, l.step, l.prefix+" "+text) }
