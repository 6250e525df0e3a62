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

// failed blames the template if one of its commands, or one of the engine's scripts,
// failed, or if something has taken the place of its daemon. All other errors are not the
// template's fault.
func (r *run) failed(ctx context.Context, what string, err error) error {
	if r.guestEnded(ctx, err) || errors.As(err, new(*client.ExitError)) || connect.IsWireError(err) ||
		errors.As(err, new(*client.AnswerError)) {
		return &build.Failure{Message: what + ": " + r.reason(ctx, err)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// reason describes why a command failed. If the guest has ended, that explains everything
// else.
func (r *run) reason(ctx context.Context, err error) string {
	if r.guestEnded(ctx, err) {
		return "the template's guest ended; it has most probably run out of its " + r.memory()
	}
	var exit *client.ExitError
	if errors.As(err, &exit) && exit.Killed() {
		return err.Error() + "; it was killed, most likely because the template's guest has run out of its " +
			r.memory()
	}
	return err.Error()
}

// memory tells how much memory the template has, and how to give it more.
func (r *run) memory() string {
	return fmt.Sprintf("%d MiB of memory. Build with a larger memoryMB (memory_mb in Python)",
		r.job.Resources.MemoryMB)
}

// endNotice is how long after its connections are lost a guest's end may become known.
const endNotice = 5 * time.Second

// guestEnded reports whether a call failed because the guest ended on its own. If the guest
// answered, even with the failure of a command, it had not ended.
func (r *run) guestEnded(ctx context.Context, err error) bool {
	if r.bench == nil || errors.As(err, new(*build.Failure)) || errors.As(err, new(*client.ExitError)) ||
		errors.As(err, new(*client.AnswerError)) || connect.IsWireError(err) {
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

// blame attributes an error to a step.
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
		r.e.log.Error("a template build failed because this machine lacks something", "build", r.job.BuildID,
			"step", step, "error", err)
		return &build.Failure{Message: message, Step: step}
	}
	return fmt.Errorf("step %s: %w", step, err)
}

// machineFailure describes what this machine could not do, or returns "" if it has no words
// for it.
func machineFailure(err error) string {
	var known *shoal.Error
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "the disk of the machine that builds is full. The operator can free space: " +
			"`shoal gc` removes what nothing refers to, and --layer-cache bounds what builds keep"
	case errors.As(err, &known) && known.Kind != shoal.ErrInternal:
		return fmt.Sprintf("%s. %s %s", strings.TrimRight(strings.SplitN(known.Message, "\n", 2)[0], ".: "),
			known.Cause, known.Fix)
	}
	return ""
}
