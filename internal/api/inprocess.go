package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

// As returns a transport that calls the API from inside the process, as a team and
// without a key. It holds each answer in memory, so it suits small ones.
func (s *Server) As(team shoal.Team) http.RoundTripper { return insider{s, auth.Insider(team)} }

type insider struct {
	server *Server
	caller auth.Caller
}

// RoundTrip answers a request, whatever its host.
func (i insider) RoundTrip(r *http.Request) (*http.Response, error) {
	inside := r.Clone(context.WithValue(r.Context(), callerKey{}, i.caller))
	inside.RequestURI, inside.Host = r.URL.RequestURI(), r.URL.Host
	if inside.Body == nil {
		inside.Body = http.NoBody
	}
	answer := &kept{header: http.Header{}, status: http.StatusOK}
	i.server.ServeHTTP(answer, inside)
	return &http.Response{
		StatusCode:    answer.status,
		Status:        http.StatusText(answer.status),
		Header:        answer.header,
		Body:          io.NopCloser(&answer.body),
		ContentLength: int64(answer.body.Len()),
		Request:       r,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
	}, nil
}

// kept is an answer in memory.
type kept struct {
	header http.Header
	status int
	sent   bool
	body   bytes.Buffer
}

func (k *kept) Header() http.Header { return k.header }

func (k *kept) WriteHeader(status int) {
	if !k.sent && status >= http.StatusOK {
		k.status, k.sent = status, true
	}
}

// SetReadDeadline does nothing, as there is no connection. Slow handlers call it.
func (k *kept) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing either.
func (k *kept) SetWriteDeadline(time.Time) error { return nil }

func (k *kept) Write(p []byte) (int, error) {
	k.sent = true
	return k.body.Write(p)
}
