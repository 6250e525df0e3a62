// Package stream is what the daemon's server-streaming RPCs share: the
// keepalive period and what a context's end means to a client.
package stream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
)

// DefaultKeepalive is the period when the client asks for none.
const DefaultKeepalive = 90 * time.Second

// Keepalive is the period the client asks for, in seconds, in the header
// Keepalive-Ping-Interval. Anything but a positive number means the default.
func Keepalive(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Keepalive-Ping-Interval"), 10, 31)
	if err != nil || seconds == 0 {
		return DefaultKeepalive
	}
	return time.Duration(seconds) * time.Second
}

// Ended is the Connect error for a context that ended; nil for one that did not.
func Ended(ctx context.Context) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	default:
		return connect.NewError(connect.CodeCanceled, err)
	}
}
