package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/logging"
)

// GetLogLevel tells the operator what this process logs.
func (s *Server) GetLogLevel(context.Context, gen.GetLogLevelRequestObject) (gen.GetLogLevelResponseObject, error) {
	levels, err := s.levels()
	if err != nil {
		return nil, err
	}
	return gen.GetLogLevel200JSONResponse{Levels: levels.String()}, nil
}

// SetLogLevel changes what this process logs, and other apis that hear of it.
func (s *Server) SetLogLevel(
	ctx context.Context, req gen.SetLogLevelRequestObject,
) (gen.SetLogLevelResponseObject, error) {
	levels, err := s.levels()
	if err != nil {
		return nil, err
	}
	before := levels.String()
	if err := levels.Set(req.Body.Levels); err != nil {
		return nil, shoal.ErrBadRequest.New("%v", err)
	}
	if s.logLevels != nil {
		s.logLevels(ctx, levels.String())
	}
	s.log.WarnContext(ctx, "the level of the log was changed", "from", before, "to", levels.String(),
		"request", shoal.RequestID(ctx))
	return gen.SetLogLevel200JSONResponse{Levels: levels.String()}, nil
}

func (s *Server) levels() (*logging.Levels, error) {
	if levels := logging.Of(s.log); levels != nil {
		return levels, nil
	}
	return nil, shoal.ErrNotImplemented.New("This process has a log without levels")
}
