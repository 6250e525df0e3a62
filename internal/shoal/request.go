package shoal

import "context"

type requestIDKey struct{}

// RequestIDHeader carries the request ID between roles.
const RequestIDHeader = "X-Request-Id"

// WithRequestID returns a context that carries the ID of the client's call.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the ID of the client's call, or "" outside of one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
