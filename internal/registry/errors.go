package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Error is a failure that the user who named the image can fix. The texts are E2B's where
// it has one (templates.md §3.2).
type Error struct{ Message string }

var _ error = (*Error)(nil)

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unreachable wraps the failure of a registry that did not answer at all.
type Unreachable struct{ Err error }

var _ error = (*Unreachable)(nil)

// Error is the text of the failure.
func (u *Unreachable) Error() string { return u.Err.Error() }

// Unwrap returns the failure.
func (u *Unreachable) Unwrap() error { return u.Err }

// unreachable reports whether err means that the registry did not answer at all.
func unreachable(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !errors.As(err, new(*transport.Error)) && !errors.As(err, new(*Error))
}

// TooLarge returns the error for an image that is larger than MaxImage.
func TooLarge() error {
	return &Error{Message: fmt.Sprintf("the image is larger than %d MB, which is the most that a template can be built from; take a smaller one, or remove from it what sandboxes do not need", MaxImage>>20)}
}

// explain turns a registry's error answer into an *Error. text is the image's name as the
// user wrote it.
func explain(ref name.Reference, text string, err error) error {
	var known *Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return &Error{Message: fmt.Sprintf("failed to pull image '%s': %v%s", text, err, otherWays)}
	}
	for _, d := range answer.Errors {
		switch d.Code {
		case transport.NameUnknownErrorCode:
			return &Error{Message: fmt.Sprintf("repository '%s' not found: verify the image name is correct",
				ref.Context().RepositoryStr())}
		case transport.ManifestUnknownErrorCode:
			return &Error{Message: fmt.Sprintf("image '%s' not found: the image or tag does not exist in the registry", text)}
		case transport.DeniedErrorCode:
			return &Error{Message: fmt.Sprintf("access denied to '%s': you don't have permission to pull this image", text)}
		}
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return &Error{Message: fmt.Sprintf("access denied to '%s': authentication required or insufficient permissions", text)}
	case http.StatusForbidden:
		return &Error{Message: fmt.Sprintf("access denied to '%s': you don't have permission to pull this image", text)}
	case http.StatusNotFound:
		return &Error{Message: fmt.Sprintf("image '%s' not found: the image or tag does not exist in the registry", text)}
	}
	return &Error{Message: fmt.Sprintf("failed to pull image '%s': %v%s", text, err, otherWays)}
}

// otherWays ends the messages about a registry that fails: what the user can do.
const otherWays = ". Try again; or let the operator provide the image by `shoal image import`, or another registry by --registry-mirrors"
