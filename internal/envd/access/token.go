// Package access decides who may speak to the daemon and as which user: the
// access token, signed file URLs, the Basic user and what may change the token.
package access

import (
	"crypto/subtle"
	"net/http"
	"sync"

	"shoal/internal/envd/answer"
	"shoal/internal/envdapi"
)

// Token is the sandbox's access token. The zero value is no token, which leaves everything
// open.
type Token struct {
	mu    sync.RWMutex
	value string
}

// Set changes the token; "" removes it.
func (t *Token) Set(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value = value
}

// Required reports whether a token is set.
func (t *Token) Required() bool { return t.get() != "" }

// Matches compares in constant time. Nothing matches while no token is set.
func (t *Token) Matches(candidate string) bool {
	value := t.get()
	return value != "" && equal(value, candidate)
}

func (t *Token) get() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.value
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// MayRotate reports whether /init may replace the token by request, where "" means none
// (envd.md §3.3). hash is the envdapi.TokenHash of the token that the node expects, or ""
// if the node states none.
func (t *Token) MayRotate(request, hash string) bool {
	if request != "" && t.Matches(request) {
		return true
	}
	if hash != "" {
		return equal(envdapi.TokenHash(request), hash)
	}
	return !t.Required()
}

// Gate lets a request through when it carries the token, when none is set, or
// when its endpoint does its own check.
func (t *Token) Gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t.Required() && !exempt(r) && !t.Matches(r.Header.Get(envdapi.TokenHeader)) {
			// Not a Connect error even for RPCs: clients look at the number.
			answer.Error(w, http.StatusUnauthorized,
				"the access token is missing or wrong; send it as "+envdapi.TokenHeader)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func exempt(r *http.Request) bool {
	switch r.Method + r.URL.Path {
	case http.MethodGet + envdapi.HealthPath, http.MethodGet + envdapi.FilesPath,
		http.MethodPost + envdapi.FilesPath, http.MethodPost + envdapi.InitPath:
		return true
	}
	return false
}
