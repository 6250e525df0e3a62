package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// maxLogLines bounds one answer; the specification says so of v2.
const maxLogLines = 1000

// GetSandboxLogs returns lines oldest first. Where there is no such sandbox, or no log
// can be had, it is empty, never an error (api.md §3.14).
func (s *Server) GetSandboxLogs(
	ctx context.Context, req gen.GetSandboxLogsRequestObject,
) (gen.GetSandboxLogsResponseObject, error) {
	q := shoal.LogQuery{Limit: logLimit(req.Params.Limit)}
	if req.Params.Start != nil {
		q.From = millisecond(*req.Params.Start)
	}
	list, err := s.logs(ctx, req.SandboxID, q)
	if err != nil {
		return nil, err
	}
	answer := gen.GetSandboxLogs200JSONResponse{Logs: []gen.LogLine{}, LogEntries: wireLog(list)}
	for _, e := range list {
		answer.Logs = append(answer.Logs, gen.LogLine{Timestamp: e.Time, Line: e.Line})
	}
	return answer, nil
}

// GetSandboxLogsV2 returns entries up to a time, newest first, unless it is asked for
// those from a time on.
func (s *Server) GetSandboxLogsV2(
	ctx context.Context, req gen.GetSandboxLogsV2RequestObject,
) (gen.GetSandboxLogsV2ResponseObject, error) {
	p := req.Params
	q := shoal.LogQuery{
		Limit:    logLimit(p.Limit),
		Level:    shoal.LogLevel(deref(p.Level)),
		Search:   deref(p.Search),
		Backward: deref(p.Direction) != gen.GetSandboxLogsV2ParamsDirectionForward,
	}
	if p.Cursor != nil {
		q.From = millisecond(*p.Cursor)
		if q.Backward {
			q.From = q.From.Add(time.Millisecond - time.Microsecond) // all of that millisecond
		}
	}
	list, err := s.logs(ctx, req.SandboxID, q)
	if err != nil {
		return nil, err
	}
	return gen.GetSandboxLogsV2200JSONResponse{Logs: wireLog(list)}, nil
}

func (s *Server) logs(ctx context.Context, pathID string, q shoal.LogQuery) ([]shoal.LogEntry, error) {
	id, err := shoal.ParseSandboxID(pathID)
	if err != nil || q.Limit == 0 {
		return nil, err
	}
	list, err := s.history.Logs(ctx, id, callerOf(ctx).Team.ID, q)
	if err != nil {
		s.log.Warn("a sandbox's log cannot be read",
			"sandbox", id, "request", shoal.RequestID(ctx), "error", err)
		return nil, nil
	}
	return list, nil
}

// millisecond returns a time of a query.
func millisecond(unix int64) time.Time { return time.UnixMilli(min(unix, lastSecond*1000)) }

func logLimit(limit *int32) int {
	if limit == nil {
		return maxLogLines
	}
	return min(int(*limit), maxLogLines)
}

func wireLog(list []shoal.LogEntry) []gen.LogEntry {
	wire := make([]gen.LogEntry, len(list))
	for i, e := range list {
		wire[i] = gen.LogEntry{Timestamp: e.Time, Level: gen.LogLevel(e.Level), Message: e.Message,
			Fields: e.Fields}
		if e.Fields == nil {
			wire[i].Fields = gen.StringMap{} // clients read it as an object
		}
	}
	return wire
}
