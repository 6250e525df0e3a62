package api

import (
	"context"
	"net/http"
	"strings"
)

// origin is how a client has reached the API, and with what.
type origin struct {
	url   string // scheme and host, as the client wrote them
	agent string // first word of the User-Agent
}

type originKey struct{}

// withOrigin lets handlers see the request's origin. Forwarding headers are not
// trusted: anybody can send them, and links are built from this.
func withOrigin(r *http.Request) *http.Request {
	o := origin{url: "http://" + r.Host}
	if r.TLS != nil {
		o.url = "https://" + r.Host
	}
	o.agent, _, _ = strings.Cut(r.UserAgent(), " ")
	return r.WithContext(context.WithValue(r.Context(), originKey{}, o))
}

func originOf(ctx context.Context) origin {
	o, _ := ctx.Value(originKey{}).(origin)
	return o
}

// olderSDK reports whether the client is an E2B SDK of an older version. Anything
// that is not known to be one is current (templates.md §1.8).
func (o origin) olderSDK(than ...int) bool {
	name, version, ok := strings.Cut(o.agent, "/")
	if !ok || (name != "e2b-js-sdk" && name != "e2b-python-sdk") || !atLeast(version, 0) {
		return false
	}
	return !atLeast(version, than...)
}
