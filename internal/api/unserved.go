package api

import (
	"net/http"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

// unserved are the routes of E2B's API that this version does not have, by the
// patterns of http.ServeMux.
var unserved = []struct {
	access   access
	patterns []string
	refusal  *shoal.Error
}{
	{access{ways: []auth.Way{auth.ByAdmin}, right: shoal.Operate}, []string{"POST /nodes/{nodeID}"},
		shoal.ErrNotImplemented.New("The status of a machine cannot be changed in this version of Shoal")},
}

// refuseUnserved answers the unserved routes to those who may call them. A blocked
// team hears the same as any other, as nothing is done.
func (s *Server) refuseUnserved(rt *router) {
	for _, group := range unserved {
		for _, pattern := range group.patterns {
			rt.unserved.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				call := callOf(r.Context())
				call.route, call.operation = pattern, pattern
				need := group.access
				need.allowsBlocked = true
				r, err := s.authorize(r, need)
				if err == nil {
					err = group.refusal
				}
				writeError(w, r, err)
			})
		}
	}
}
