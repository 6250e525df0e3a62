package api

import (
	"net/http"

	"shoal/internal/shoal"
)

// unserved are the routes of E2B's API that this version does not have, by the
// patterns of http.ServeMux. A 404 would tell SDKs that the volume or the secret does
// not exist.
var unserved = []struct {
	scheme   string
	patterns []string
	refusal  *shoal.Error
}{
	{"ApiKey", []string{"/volumes", "/volumes/", "/volumecontent/"},
		shoal.ErrFeatureForbidden.New("use of volumes is not enabled")},
	{"ApiKey", []string{"/secrets", "/secrets/"},
		shoal.ErrFeatureForbidden.New("Secrets are not available for this team")},
	{"ApiKey", []string{"/api-keys", "/api-keys/"},
		shoal.ErrNotImplemented.New("API keys are managed with `shoal key`, not through this API")},
	{"ApiKey", []string{"/access-tokens", "/access-tokens/"},
		shoal.ErrNotImplemented.New("Access tokens are not available in this version of Shoal; use an API key (E2B_API_KEY)")},
	{"ApiKey", []string{"/events/sandboxes", "/events/sandboxes/", "/events/webhooks", "/events/webhooks/"},
		shoal.ErrNotImplemented.New("Events and webhooks are not available in this version of Shoal")},
	{"AdminToken", []string{"POST /admin/teams/{teamID}/api-keys",
		"DELETE /admin/teams/{teamID}/api-keys/{keyID}"},
		shoal.ErrNotImplemented.New("API keys are managed with `shoal key`, not through this API")},
	{"AdminToken", []string{"POST /admin/teams/{teamID}/sandboxes/kill"},
		shoal.ErrNotImplemented.New("Ending all sandboxes of a team at once is not available in this version of Shoal")},
	{"AdminToken", []string{"POST /nodes/{nodeID}"},
		shoal.ErrNotImplemented.New("The status of a machine cannot be changed in this version of Shoal")},
}

// refuseUnserved answers the unserved routes to those who may call them. A blocked
// team hears the same as any other, as nothing is done.
func (s *Server) refuseUnserved(rt *router) {
	for _, group := range unserved {
		for _, pattern := range group.patterns {
			rt.unserved.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				callOf(r.Context()).route = pattern
				r, err := s.authorize(r, []string{group.scheme}, true)
				if err == nil {
					err = group.refusal
				}
				writeError(w, r, err)
			})
		}
	}
}
