package api

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/build"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// maxLogPage is how many entries of a build's log one answer has at most.
const maxLogPage = 100

// GetTemplateBuildStatus answers with the status and a page of the log. The status
// is read first: whatever it says has been logged before.
func (s *Server) GetTemplateBuildStatus(
	ctx context.Context, req gen.GetTemplateBuildStatusRequestObject,
) (gen.GetTemplateBuildStatusResponseObject, error) {
	b, err := s.ownBuild(ctx, req.TemplateID, req.BuildID)
	if err != nil {
		return nil, err
	}
	info := gen.TemplateBuildInfo{TemplateID: b.TemplateID, BuildID: b.ID, Status: gen.BuildStatus(b.Status),
		Logs: []string{}, LogEntries: []gen.BuildLogEntry{}}
	if b.Status != shoal.BuildWaiting {
		page, err := s.builds.Logs.Page(ctx, b.ID, build.Level(deref(req.Params.Level)),
			int(deref(req.Params.LogsOffset)), logPage(req.Params.Limit))
		if err != nil {
			return nil, err
		}
		info.LogEntries = wireEntries(page)
	}
	if b.Status == shoal.BuildError {
		info.Reason = wireReason(b.Reason, info.LogEntries)
	}
	return gen.GetTemplateBuildStatus200JSONResponse(info), nil
}

// GetTemplateBuildLogs answers with the log by time.
func (s *Server) GetTemplateBuildLogs(
	ctx context.Context, req gen.GetTemplateBuildLogsRequestObject,
) (gen.GetTemplateBuildLogsResponseObject, error) {
	b, err := s.ownBuild(ctx, req.TemplateID, req.BuildID)
	if err != nil {
		return nil, err
	}
	p := req.Params
	backward := deref(p.Direction) == gen.GetTemplateBuildLogsParamsDirectionBackward
	var from time.Time
	switch {
	case p.Cursor != nil:
		from = time.UnixMilli(*p.Cursor)
	case backward:
		from = time.Now().Add(time.Hour) // after whatever is there
	}
	entries, err := s.builds.Logs.Range(ctx, b.ID, build.Level(deref(p.Level)), from, backward,
		logPage(p.Limit))
	if err != nil {
		return nil, err
	}
	return gen.GetTemplateBuildLogs200JSONResponse{Logs: wireEntries(entries)}, nil
}

// ownBuild finds a build of the team's. The statuses of its errors are E2B's,
// which are not those of a start (templates.md §1.9).
func (s *Server) ownBuild(ctx context.Context, templateID, buildID string) (shoal.Build, error) {
	id, err := uuid.Parse(buildID)
	if err != nil {
		return shoal.Build{}, shoal.ErrBuildRequest.New("Invalid build id")
	}
	unknown := shoal.ErrBuildRequest.New("Build '%s' not found", id)
	t, err := s.store.Template(ctx, templateID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return shoal.Build{}, unknown
	case err != nil:
		return shoal.Build{}, err
	case t.TeamID != callerOf(ctx).Team.ID:
		return shoal.Build{}, noAccess(templateID)
	}
	b, err := s.store.Build(ctx, t.ID, id.String())
	if errors.Is(err, store.ErrNotFound) {
		return b, unknown
	}
	return b, err
}

func logPage(limit *int32) int {
	if limit == nil {
		return maxLogPage
	}
	return int(*limit)
}

func wireEntries(entries []build.Entry) []gen.BuildLogEntry {
	list := make([]gen.BuildLogEntry, len(entries))
	for i, e := range entries {
		list[i] = gen.BuildLogEntry{Timestamp: e.Time, Level: gen.LogLevel(e.Level), Message: e.Message,
			Step: optional(e.Step)}
	}
	return list
}

// wireReason adds the page's entries that explain the failure.
func wireReason(reason shoal.BuildReason, page []gen.BuildLogEntry) *gen.BuildStatusReason {
	wire := &gen.BuildStatusReason{Message: reason.Message, Step: optional(reason.Step),
		LogEntries: []gen.BuildLogEntry{}}
	for _, e := range page {
		if deref(e.Step) == reason.Step && build.Level(e.Level).AtLeast(build.Warn) {
			wire.LogEntries = append(wire.LogEntries, e)
		}
	}
	return wire
}
