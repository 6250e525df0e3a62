package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/internal/shoal"
)

const (
	defaultReady = "sleep 20" // templates.md §3.7
	readyLimit   = 10 * time.Minute
	// The ready command is tried again after firstPause, then ever later up to
	// lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
	// maxKilled is how often in a row the ready command may be killed. One that needs more
	// memory than there is would be killed until readyLimit.
	maxKilled = 6
	// lastWords is how long to wait, once the template is ready, for what its start command
	// has printed.
	lastWords = 100 * time.Millisecond
)

// Listener hears what goes on during a Startup. Its functions are called by
// several goroutines.
type Listener struct {
	Start, Ready Output
	// Waiting is called before the ready command is first run, NotReady each time it has
	// failed.
	Waiting  func(ready string)
	NotReady func(why error)
}

// Silent hears nothing.
var Silent = Listener{
	Start: func(bool, []byte) {}, Ready: func(bool, []byte) {},
	Waiting: func(string) {}, NotReady: func(error) {},
}

// StartError is a start or ready command that failed. The texts are E2B's.
type StartError struct {
	What string // "start command failed: error running start command"
	Err  error
}

var _ error = (*StartError)(nil)

// Error says what failed and why.
func (e *StartError) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *StartError) Unwrap() error { return e.Err }

// Startup runs a template's start command, and its ready command until that succeeds. The
// start command keeps running. A *StartError says which of the two failed.
func (c *Client) Startup(ctx context.Context, block shoal.StartBlock, l Listener) error {
	command := func(line string) Command {
		return Command{User: block.Context.User, Args: Shell(line), Env: block.Context.Env,
			Dir: block.Context.Workdir}
	}
	// A deadline of the call would become that of the process.
	running, leave := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	defer func() {
		leave()
		if block.Command != "" {
			for range ended { // it is closed when the command has ended
			}
		}
	}()
	if block.Command != "" {
		go func() {
			ended <- c.Run(running, command(block.Command), nil, l.Start)
			close(ended)
		}()
	}
	ready := block.Ready
	if ready == "" {
		ready = defaultReady
	}
	l.Waiting(ready)
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return c.untilReady(ctx, command(ready), ended, l)
}

// untilReady watches the start command while it tries the ready command.
func (c *Client) untilReady(ctx context.Context, ready Command, started <-chan error, l Listener) error {
	trial := make(chan error, 1)
	try := func() { trial <- c.Run(ctx, ready, nil, l.Ready) }
	go try()
	pause, begin, killed := firstPause, time.Now(), 0
	var again <-chan time.Time
	for {
		select {
		case err := <-started:
			started = nil
			if err != nil && ctx.Err() == nil {
				return startFailure(err)
			}
		case <-again:
			again = nil
			go try()
		case err := <-trial:
			if err == nil {
				return c.hearOut(started)
			}
			if ctx.Err() != nil {
				return readyTimeout(ctx, begin)
			}
			exit := (*ExitError)(nil)
			if !errors.As(err, &exit) { // it cannot be run
				return &StartError{"ready command failed", err}
			}
			if killed++; !exit.Killed() {
				killed = 0
			} else if killed == maxKilled {
				return &StartError{"ready command failed", err}
			}
			l.NotReady(err)
			again = time.After(pause)
			pause = min(2*pause, lastPause)
		case <-ctx.Done():
			return readyTimeout(ctx, begin)
		}
	}
}

// hearOut waits a moment for the last output, and for the failure of a start command that
// ended just as the ready command succeeded.
func (c *Client) hearOut(started <-chan error) error {
	if started == nil {
		return nil
	}
	select {
	case err := <-started:
		if err != nil {
			return startFailure(err)
		}
	case <-time.After(lastWords):
	}
	return nil
}

func startFailure(err error) error {
	return &StartError{"start command failed: error running start command", err}
}

func readyTimeout(ctx context.Context, begin time.Time) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return &StartError{"ready command failed",
		fmt.Errorf("ready command timed out after %s", time.Since(begin).Round(time.Second))}
}
