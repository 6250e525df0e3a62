package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

// Error is a failure that the user who named the image can fix. The texts are E2B's where
// it has one (templates.md §3.2). They are made of our own words and of the user's: what
// answers in a registry's place may be a service that the user must not read from.
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

// unreachable reports whether err means that the registry did not answer at all. One that
// is refused was not asked.
func unreachable(ctx context.Context, err error) bool {
	return ctx.Err() == nil && errors.As(err, new(*outbound.Failure)) && !errors.As(err, new(*transport.Error)) &&
		!shoal.ErrOutboundRefused.Matches(err)
}

// TooLarge returns the error for an image that is larger than MaxImage.
func TooLarge() error {
	return &Error{Message: fmt.Sprintf("the image is larger than %d MB, which is the most that a template can be built from; take a smaller one, or remove from it what sandboxes do not need", MaxImage>>20)}
}

// interrupted is a pull that failed in the middle of a layer.
type interrupted struct {
	at  string // "layer 2/5, after 1.0 of 3.0 MiB"
	err error
}

func (i *interrupted) Error() string { return i.at + ": " + i.err.Error() }

func (i *interrupted) Unwrap() error { return i.err }

// explain turns what went wrong between a registry and this host into an *Error, but for
// faults of this host and the end of ctx. text is the image's name as the user wrote it.
func explain(ctx context.Context, ref name.Reference, text string, err error) error {
	var known *Error
	switch {
	case errors.As(err, &known), ctx.Err() != nil:
		return err
	case errors.As(err, new(*fs.PathError)):
		return fmt.Errorf("pull image '%s': %w", text, err)
	}
	where := ""
	if part := new(interrupted); errors.As(err, &part) {
		where = " (" + part.at + ")"
	}
	failed := func(reason string) error {
		return &Error{Message: fmt.Sprintf("failed to pull image '%s'%s: %s", text, where, reason)}
	}
	var answer *transport.Error
	var refused *shoal.Error
	var broken *outbound.Failure
	switch {
	case errors.As(err, &refused):
		return failed(fmt.Sprintf("%s. %s %s", refused.Message, refused.Cause, refused.Fix))
	case errors.As(err, &answer):
		if message := answered(ref, text, answer); message != "" {
			return &Error{Message: message}
		}
		return failed(statusOf(answer) + otherWays)
	case errors.As(err, &broken):
		return failed("its registry, or a server that the registry refers to, fails: " + broken.Error() + otherWays)
	default:
		return failed("what answers is not a container registry, or does not have the image for linux/amd64" + otherWays)
	}
}

// answered returns the messages that users of E2B know, "" if it has none for the answer.
func answered(ref name.Reference, text string, answer *transport.Error) string {
	for _, d := range answer.Errors {
		switch d.Code {
		case transport.NameUnknownErrorCode:
			return fmt.Sprintf("repository '%s' not found: verify the image name is correct", ref.Context().RepositoryStr())
		case transport.ManifestUnknownErrorCode:
			return fmt.Sprintf("image '%s' not found: the image or tag does not exist in the registry", text)
		case transport.DeniedErrorCode:
			return fmt.Sprintf("access denied to '%s': you don't have permission to pull this image", text)
		}
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Sprintf("access denied to '%s': authentication required or insufficient permissions", text)
	case http.StatusForbidden:
		return fmt.Sprintf("access denied to '%s': you don't have permission to pull this image", text)
	case http.StatusNotFound:
		return fmt.Sprintf("image '%s' not found: the image or tag does not exist in the registry", text)
	}
	return ""
}

// errorCodes are the codes that a registry may give for a failed pull (OCI distribution
// specification, "Error Codes"; the last two are Docker's).
var errorCodes = []transport.ErrorCode{
	transport.BlobUnknownErrorCode, transport.DigestInvalidErrorCode, transport.ManifestBlobUnknownErrorCode,
	transport.ManifestInvalidErrorCode, transport.ManifestUnknownErrorCode, transport.NameInvalidErrorCode,
	transport.NameUnknownErrorCode, transport.SizeInvalidErrorCode, transport.UnauthorizedErrorCode,
	transport.DeniedErrorCode, transport.UnsupportedErrorCode, transport.TooManyRequestsErrorCode,
	transport.TagInvalidErrorCode, transport.UnavailableErrorCode,
}

// statusOf tells a failed answer's status and the codes in it that are known.
func statusOf(answer *transport.Error) string {
	said := fmt.Sprintf("its registry answers with status %d", answer.StatusCode)
	var codes []string
	for _, code := range errorCodes {
		if slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool { return d.Code == code }) {
			codes = append(codes, string(code))
		}
	}
	if len(codes) > 0 {
		said += " and the code " + strings.Join(codes, ", ")
	}
	return said
}

// otherWays ends the messages about a registry that fails: what the user can do.
const otherWays = ". Try again; or let the operator provide the image by `shoal image import`, or another registry by --registry-mirrors"
