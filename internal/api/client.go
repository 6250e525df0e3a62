package api

import (
	"context"
	"net/http"
	"strings"
)

// client is what a request shows of the program that sent it.
type client struct {
	url   string // scheme and host at which it reached the API, as it wrote them
	agent string // first word of its User-Agent
}

type clientKey struct{}

// withClient lets handlers see the request's client. Forwarding headers are not
// trusted: anybody can send them, and links are built from this.
func withClient(r *http.Request) *http.Request {
	c := client{url: "http://" + r.Host}
	if r.TLS != nil {
		c.url = "https://" + r.Host
	}
	c.agent, _, _ = strings.Cut(r.UserAgent(), " ")
	return r.WithContext(context.WithValue(r.Context(), clientKey{}, c))
}

func clientOf(ctx context.Context) client {
	c, _ := ctx.Value(clientKey{}).(client)
	return c
}

// olderSDK reports whether the client is an E2B SDK of an older version. Anything
// that is not known to be one is current (templates.md §1.8).
func (c client) olderSDK(than ...int) bool {
	name, version, ok := strings.Cut(c.agent, "/")
	if !ok || (name != "e2b-js-sdk" && name != "e2b-python-sdk") || !atLeast(version, 0) {
		return false
	}
	return !atLeast(version, than...)
}
