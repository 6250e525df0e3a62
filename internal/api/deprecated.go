package api

import (
	"net/http"
	"strings"

	"shoal/internal/shoal"
)

// refuseDeprecated answers requests of clients that are too old with the advice
// that they print (api.md §1.3).
func refuseDeprecated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); {
		case first == "instances", first == "envs":
			writeError(w, r, shoal.ErrBadRequest.New("Endpoints are deprecated, please update your SDK to use the new endpoints."))
		case first == "templates" && r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/"):
			writeError(w, r, shoal.ErrBadRequest.New("Endpoint deprecated please update your CLI to the latest version"))
		default:
			next.ServeHTTP(w, r)
		}
	})
}
