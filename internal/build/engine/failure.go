package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"shoal/internal/build"
	"shoal/internal/envdapi/client"
	"shoal/internal/shoal"
)

// failed blames the template for what one of its commands, or of the engine's programs,
// could not do; anything else that went wrong is not its fault.
func (r *run) failed(ctx context.Context, what string, err error) error {
	if r.guestEnded(ctx, err) || errors.As(err, new(*client.ExitError)) || connect.IsWireError(err) {
		return &build.Failure{Message: what + ": " + r.reason(ctx, err)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// reason words why a command failed. A guest that has ended explains whatever else went
// wrong.
func (r *run) reason(ctx context.Context, err error) string {
	if r.guestEnded(ctx, err) {
		return "the template's guest ended; it has most probably run out of its " + r.memory()
	}
	// 137 is how a shell passes on that a command of its was killed.
	var exit *client.ExitError
	if errors.As(err, &exit) && (exit.Status == "signal: killed" || exit.Code == 137) {
		return err.Error() + "; it was killed, most likely because the template's guest has run out of its " + r.memory()
	}
	return err.Error()
}

// memory is what a template has that wants more, and how to give it more.
func (r *run) memory() string {
	return fmt.Sprintf("%d MiB of memory. Build with a larger memoryMB (memory_mb in Python)", r.job.Resources.MemoryMB)
}

// endNotice is how long after the loss of its connections a guest's end may become known.
const endNotice = 5 * time.Second

// guestEnded reports whether the guest ended by itself, which is why a call into it
// failed. An answer of the guest's, also of a command that failed, is no such case.
func (r *run) guestEnded(ctx context.Context, err error) bool {
	if r.bench == nil || errors.As(err, new(*build.Failure)) || errors.As(err, new(*client.ExitError)) || connect.IsWireError(err) {
		return false
	}
	select {
	case <-r.bench.Ended():
		return true
	case <-ctx.Done():
	case <-time.After(endNotice):
	}
	return false
}

// blame makes an error the step's.
func (r *run) blame(ctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var f *build.Failure
	if errors.As(err, &f) {
		return &build.Failure{Message: f.Message, Step: step}
	}
	if r.guestEnded(ctx, err) {
		return &build.Failure{Message: r.reason(ctx, err), Step: step}
	}
	if message := machineFailure(err); message != "" {
		r.e.log.Error("a template build failed for want of something on this machine", "build", r.job.BuildID, "step", step, "error", err)
		return &build.Failure{Message: message, Step: step}
	}
	return fmt.Errorf("step %s: %w", step, err)
}

// machineFailure words what this machine could not do, if there is a word for it.
func machineFailure(err error) string {
	var known *shoal.Error
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "the disk of the machine that builds is full. The operator can free space: `shoal gc` removes what nothing refers to, and --layer-cache bounds what builds keep"
	case errors.As(err, &known) && known.Kind != shoal.ErrInternal:
		return fmt.Sprintf("%s. %s %s", strings.TrimRight(strings.SplitN(known.Message, "\n", 2)[0], ".: "), known.Cause, known.Fix)
	}
	return ""
}
