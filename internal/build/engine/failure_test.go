package engine

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"shoal/internal/build"
	"shoal/internal/envdapi/client"
	"shoal/internal/shoal"
)

// TestFailed: failures of the template are told apart from others, and a killed command
// comes with the advice to give it more memory.
func TestFailed(t *testing.T) {
	const hint = "; it was killed, most likely because the template's guest has run out of its 512 MiB of memory. Build with a larger memoryMB (memory_mb in Python)"
	r := &run{job: build.Job{Resources: shoal.Resources{MemoryMB: 512}}}
	killed := &client.ExitError{Code: -1, Status: "signal: killed"}
	for _, c := range []struct {
		err  error
		want string // "" means that the template is not at fault
	}{
		{&client.ExitError{Code: 3, Status: "exit status 3"}, "failed: exit status 3"},
		{&client.ExitError{Code: -1, Status: "signal: terminated"}, "failed: signal: terminated"},
		{killed, "failed: signal: killed" + hint},
		{&client.ExitError{Code: 137, Status: "exit status 137"}, "failed: exit status 137" + hint},
		{fmt.Errorf("%w: oops", killed), "failed: signal: killed: oops" + hint},
		{connect.NewWireError(connect.CodeUnauthenticated, errors.New("who?")),
			"failed: unauthenticated: who?"},
		{fmt.Errorf("call: %w", &client.AnswerError{What: "a redirect (status 307)"}),
			"failed: call: the daemon in the guest gave an answer that is not accepted: a redirect (status 307)"},
		{connect.NewError(connect.CodeInternal, errors.New("the connection was lost")), ""},
		{errors.New("anything else"), ""},
	} {
		err := r.failed(t.Context(), "failed", c.err)
		var failure *build.Failure
		switch {
		case errors.As(err, &failure) != (c.want != ""), failure != nil && failure.Message != c.want:
			t.Errorf("%v: %v, want %q", c.err, err, c.want)
		case failure == nil && !errors.Is(err, c.err):
			t.Errorf("%v became %v", c.err, err)
		}
	}
}
