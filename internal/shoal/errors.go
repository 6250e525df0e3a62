package shoal

import (
	"errors"
	"fmt"
)

// Kind is one entry of the error catalogue. Its code is stable: clients and
// runbooks may depend on it.
type Kind struct {
	Code   string // "room.what", or E2B's own error_code where it has one
	Status int    // HTTP status
	Cause  string // what usually brings it about
	Fix    string // what the reader can do
}

// Error is a catalogue entry with the text of one occurrence. Message is what
// E2B clients show, so its wording follows E2B where clients or tests match it.
//
// Message and Detail are read by tenants, whatever went wrong, so they speak of no host, path,
// address or query. Err is for the operator: it is logged under the request's ID.
type Error struct {
	*Kind
	Message string
	Detail  string // what else a tenant may know of this occurrence; may be empty
	Err     error  // the underlying error; may be nil
}

// Error returns all of it in a line, for logs.
func (e *Error) Error() string {
	text := e.Message
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrSandboxNotFound.New("")) and errors of the same
// kind equal, whatever their text.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind
}

// New makes an error of this kind with a message for the client.
func (k *Kind) New(format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Because adds what else a tenant may know, and returns e.
func (e *Error) Because(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// Wrap is New with an underlying error, which only operators see.
func (k *Kind) Wrap(err error, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...), Err: err}
}

// Matches reports whether err is an error of this kind.
func (k *Kind) Matches(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}

// AsError returns the catalogue error in err's chain, or ErrInternal around err.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return ErrInternal.Wrap(err, "Internal server error")
}

// NotFound is the answer for a sandbox that the caller may not see or that does
// not exist; the wording is E2B's (api.md §3).
func NotFound(sandboxID string) *Error { return ErrSandboxNotFound.New(notFound, sandboxID) }

// NotRunning is the answer for a paused sandbox to what is for running ones. E2B
// words it as NotFound.
func NotRunning(sandboxID string) *Error { return ErrSandboxNotRunning.New(notFound, sandboxID) }

const notFound = "Sandbox %q doesn't exist or you don't have access to it"

// Changeable says why the settings of a sandbox in a state cannot be changed now
// (api.md §4.4); nil if they can.
func Changeable(sandboxID string, state State) error {
	switch state {
	case StateRunning:
		return nil
	case StateKilling:
		return ErrSandboxState.New("Sandbox %q is being killed", sandboxID)
	case StatePausing:
		return ErrSandboxState.New("Sandbox %q is being paused", sandboxID)
	case StateSnapshotting:
		return ErrSandboxState.New("Sandbox %q is being snapshotted", sandboxID)
	case StatePaused, StateResuming:
		return NotRunning(sandboxID)
	default:
		return NotFound(sandboxID)
	}
}
