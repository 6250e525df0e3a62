package rpc

import (
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/shoal"
)

// codes maps the catalogue's HTTP statuses to Connect's codes.
var codes = map[int]connect.Code{
	http.StatusBadRequest: connect.CodeInvalidArgument, http.StatusUnauthorized: connect.CodeUnauthenticated,
	http.StatusForbidden: connect.CodePermissionDenied, http.StatusNotFound: connect.CodeNotFound,
	http.StatusConflict: connect.CodeAborted, http.StatusTooManyRequests: connect.CodeResourceExhausted,
	http.StatusNotImplemented: connect.CodeUnimplemented, http.StatusServiceUnavailable: connect.CodeUnavailable,
	http.StatusGatewayTimeout: connect.CodeDeadlineExceeded,
}

// encodeError gives every failure its catalogue entry as a detail.
func encodeError(err error) error {
	known := shoal.AsError(err)
	code, ok := codes[known.Status]
	if !ok {
		code = connect.CodeInternal
	}
	out := connect.NewError(code, errors.New(known.Message))
	if d, err := connect.NewErrorDetail(encodeKnown(known)); err == nil {
		out.AddDetail(d)
	}
	return out
}

func encodeKnown(known *shoal.Error) *nodev1.CatalogueError {
	out := &nodev1.CatalogueError{Code: known.Code, Message: known.Message, Detail: known.Detail}
	if known.Err != nil {
		out.Cause = known.Err.Error()
	}
	return out
}

// decodeKnown finds the entry of the catalogue; nil if this version has none of
// that code.
func decodeKnown(detail *nodev1.CatalogueError) error {
	for _, k := range shoal.Catalogue {
		if k.Code == detail.Code {
			known := &shoal.Error{Kind: k, Message: detail.Message, Detail: detail.Detail}
			if detail.Cause != "" {
				known.Err = errors.New(detail.Cause)
			}
			return known
		}
	}
	return nil
}

// decodeError turns a failure back into its catalogue entry; one that has none
// never reached the machine's orchestrator.
func decodeError(address string, err error) error {
	var failure *connect.Error
	if !errors.As(err, &failure) {
		return errUnreachable(address, err)
	}
	for _, d := range failure.Details() {
		value, err := d.Value()
		if err != nil {
			continue
		}
		detail, ok := value.(*nodev1.CatalogueError)
		if !ok {
			continue
		}
		known := decodeKnown(detail)
		switch {
		case shoal.ErrUnauthorized.Matches(known): // no client's key, but the roles' secret
			return errUnreachable(address, known)
		case known != nil:
			return known
		}
	}
	switch failure.Code() {
	case connect.CodeCanceled, connect.CodeDeadlineExceeded:
		return failure.Unwrap()
	default:
		return errUnreachable(address, err)
	}
}

// errUnreachable names the address to the operator alone.
func errUnreachable(address string, err error) error {
	return shoal.ErrNodeUnreachable.Wrap(fmt.Errorf("the orchestrator at %s: %w", address, err),
		"A machine's orchestrator cannot be reached")
}
