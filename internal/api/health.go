package api

import (
	"context"

	"shoal/internal/api/gen"
)

// GetHealth answers 200 while a machine is connected and the server is not
// stopping. The texts are E2B's (api.md §1.5).
func (s *Server) GetHealth(context.Context, gen.GetHealthRequestObject) (gen.GetHealthResponseObject, error) {
	if s.draining.Load() || !s.fleet.Ready() {
		return gen.GetHealth503TextResponse("Service is unavailable"), nil
	}
	return gen.GetHealth200TextResponse("Health check successful"), nil
}
