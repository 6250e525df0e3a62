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
		case isDockerBuild(r):
			writeError(w, r, shoal.ErrBuildLegacy.New("Building templates through a Docker registry is not supported. Please update your SDK or CLI, and use Template.build or `e2b template create`."))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isDockerBuild recognizes the three calls of the old template build
// (templates.md §4).
func isDockerBuild(r *http.Request) bool {
	parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	if r.Method != http.MethodPost || parts[0] != "templates" {
		return false
	}
	switch len(parts) {
	case 1:
		return true
	case 2:
		return parts[1] != "tags"
	default:
		return len(parts) == 4 && parts[2] == "builds"
	}
}
