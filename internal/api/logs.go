package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// GetSandboxLogs answers with no lines: logs are not collected yet, and clients
// expect an empty answer, never an error, where there are none (api.md §3.14).
func (s *Server) GetSandboxLogs(_ context.Context, req gen.GetSandboxLogsRequestObject) (gen.GetSandboxLogsResponseObject, error) {
	if _, err := shoal.ParseSandboxID(req.SandboxID); err != nil {
		return nil, err
	}
	return gen.GetSandboxLogs200JSONResponse{Logs: []gen.LogLine{}, LogEntries: []gen.LogEntry{}}, nil
}

// GetSandboxLogsV2 answers with no entries, as GetSandboxLogs does.
func (s *Server) GetSandboxLogsV2(_ context.Context, req gen.GetSandboxLogsV2RequestObject) (gen.GetSandboxLogsV2ResponseObject, error) {
	if _, err := shoal.ParseSandboxID(req.SandboxID); err != nil {
		return nil, err
	}
	return gen.GetSandboxLogsV2200JSONResponse{Logs: []gen.LogEntry{}}, nil
}
