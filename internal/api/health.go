package api

import (
	"context"
	"errors"

	"shoal/internal/api/gen"
)

// Ready returns an error if no machine is connected, or the server is stopping.
func (s *Server) Ready() error {
	switch {
	case s.draining.Load():
		return errors.New("the api is stopping")
	case !s.fleet.Ready():
		return errors.New("no machine is connected")
	}
	return nil
}

// GetHealth answers 200 while a machine is connected and the server is not
// stopping. The texts are E2B's (api.md §1.5).
func (s *Server) GetHealth(context.Context, gen.GetHealthRequestObject) (gen.GetHealthResponseObject, error) {
	if s.Ready() != nil {
		return gen.GetHealth503TextResponse("Service is unavailable"), nil
	}
	return gen.GetHealth200TextResponse("Health check successful"), nil
}
