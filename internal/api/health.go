package api

import (
	"context"
	"net/http"

	"shoal/internal/api/gen"
)

// GetHealth answers 200 while a machine is connected and the server is not
// stopping. The texts are matched by tests (api.md §1.5).
func (s *Server) GetHealth(context.Context, gen.GetHealthRequestObject) (gen.GetHealthResponseObject, error) {
	if s.draining.Load() || !s.fleet.Ready() {
		return unavailable{}, nil
	}
	return gen.GetHealth200TextResponse("Health check successful"), nil
}

type unavailable struct{}

// VisitGetHealthResponse writes plain text, for load balancers read it.
func (unavailable) VisitGetHealthResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, err := w.Write([]byte("Service is unavailable"))
	return err
}
