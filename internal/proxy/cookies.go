package proxy

import (
	"net/http"
	"slices"
	"strings"

	"shoal/internal/shoal"
)

// dropOwnCookies removes the API's cookies from a request for a sandbox. A browser sends cookies to
// all ports of a host, so also to a proxy at the API's host.
func dropOwnCookies(h http.Header) {
	values := h["Cookie"]
	if !slices.ContainsFunc(values, hasOwnCookie) {
		return
	}
	var kept []string
	for _, value := range values {
		var others []string
		for pair := range strings.SplitSeq(value, ";") {
			if !isOwnCookie(pair) {
				others = append(others, pair)
			}
		}
		if len(others) > 0 {
			kept = append(kept, strings.TrimSpace(strings.Join(others, ";")))
		}
	}
	if h.Del("Cookie"); len(kept) > 0 {
		h["Cookie"] = kept
	}
}

func hasOwnCookie(value string) bool {
	for pair := range strings.SplitSeq(value, ";") {
		if isOwnCookie(pair) {
			return true
		}
	}
	return false
}

func isOwnCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.TrimPrefix(strings.TrimSpace(name), shoal.SecurePrefix)
	return name == shoal.SessionCookie || name == shoal.TryCookie
}
