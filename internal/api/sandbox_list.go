package api

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/shoal"
)

// ListSandboxes lists the running sandboxes, newest first, without pages.
func (s *Server) ListSandboxes(
	ctx context.Context, req gen.ListSandboxesRequestObject,
) (gen.ListSandboxesResponseObject, error) {
	metadata, err := parseMetadata(req.Params.Metadata)
	if err != nil {
		return nil, err
	}
	rows, err := s.matching(ctx, listFilter{metadata: metadata, states: []shoal.State{shoal.StateRunning}})
	if err != nil {
		return nil, err
	}
	return sandboxPage{server: s, rows: rows}, nil
}

// ListSandboxesV2 lists running and paused sandboxes in pages.
func (s *Server) ListSandboxesV2(
	ctx context.Context, req gen.ListSandboxesV2RequestObject,
) (gen.ListSandboxesV2ResponseObject, error) {
	p := req.Params
	ascending := p.Order != nil && *p.Order == gen.Asc
	after, err := decodeCursor(p.NextToken, ascending)
	if err != nil {
		return nil, err
	}
	filter, err := s.parseFilter(ctx, p)
	if err != nil {
		return nil, err
	}
	rows, err := s.matching(ctx, filter)
	if err != nil {
		return nil, err
	}
	answer := sandboxPage{server: s}
	if slices.Contains(filter.states, shoal.StateRunning) {
		running := countRunning(rows)
		answer.running = &running
	}
	if ascending {
		slices.Reverse(rows)
	}
	rows = rowsAfter(rows, after, ascending)
	if size := pageSize(p.Limit); len(rows) > size {
		rows = rows[:size]
		last := rows[size-1]
		end := cursor{at: wireTime(last.StartedAt), id: last.SandboxID}
		answer.next = encodeCursor(end, ascending)
	}
	answer.rows = rows
	return answer, nil
}

// listFilter is what a sandbox must match. Zero values match everything, except that
// states names all the states that may appear.
type listFilter struct {
	metadata     map[string]string
	states       []shoal.State
	startedAfter time.Time // inclusive
	templateID   *string
}

func (s *Server) parseFilter(ctx context.Context, p gen.ListSandboxesV2Params) (listFilter, error) {
	f := listFilter{states: []shoal.State{shoal.StateRunning, shoal.StatePaused}}
	if p.State != nil && len(*p.State) > 0 {
		f.states = nil
		for _, state := range *p.State {
			f.states = append(f.states, shoal.State(state))
		}
	}
	if p.StartedAfter != nil {
		f.startedAfter = wireTime(*p.StartedAfter)
	}
	var err error
	if f.metadata, err = parseMetadata(p.Metadata); err != nil {
		return f, err
	}
	if p.Template != nil && strings.TrimSpace(*p.Template) != "" {
		id, err := s.filterTemplate(ctx, *p.Template)
		if err != nil {
			return f, err
		}
		f.templateID = &id
	}
	return f, nil
}

// filterTemplate returns the ID of a template, and for an unknown one an ID that
// no sandbox has.
func (s *Server) filterTemplate(ctx context.Context, text string) (string, error) {
	ref, err := reference.Parse(text)
	if err != nil {
		return "", shoal.ErrTemplateReference.New("Invalid template: %s", err)
	}
	if ref.Tag != "" {
		return "", shoal.ErrTemplateReference.New("Invalid template: tags are not supported here because sandboxes are not tag-scoped")
	}
	t, err := s.resolve(ctx, callerOf(ctx).Team, ref)
	if shoal.ErrTemplateNotFound.Matches(err) {
		return "", nil
	}
	return t.ID, err
}

// matching returns the team's sandboxes that match a filter, newest first.
func (s *Server) matching(ctx context.Context, f listFilter) ([]shoal.Sandbox, error) {
	all, err := s.fleet.List(ctx)
	if err != nil {
		return nil, err
	}
	teamID := callerOf(ctx).Team.ID
	rows := slices.DeleteFunc(all, func(sb shoal.Sandbox) bool { return sb.TeamID != teamID || !f.admits(sb) })
	slices.SortFunc(rows, newestFirst)
	return rows, nil
}

func (f listFilter) admits(sb shoal.Sandbox) bool {
	if sb.State == shoal.StateCreating || sb.State == shoal.StateKilling {
		return false
	}
	if !slices.Contains(f.states, sb.State.Public()) {
		return false
	}
	for key, value := range f.metadata {
		if got, ok := sb.Metadata[key]; !ok || got != value {
			return false
		}
	}
	return !wireTime(sb.StartedAt).Before(f.startedAfter) &&
		(f.templateID == nil || *f.templateID == sb.TemplateID)
}

// newestFirst orders by start, then by ID (api.md §3.3).
func newestFirst(a, b shoal.Sandbox) int {
	if c := wireTime(b.StartedAt).Compare(wireTime(a.StartedAt)); c != 0 {
		return c
	}
	return strings.Compare(a.SandboxID, b.SandboxID)
}

// rowsAfter drops the rows up to the cursor.
func rowsAfter(rows []shoal.Sandbox, after *cursor, ascending bool) []shoal.Sandbox {
	if after == nil {
		return rows
	}
	last := shoal.Sandbox{Spec: shoal.Spec{SandboxID: after.id}, StartedAt: after.at}
	return slices.DeleteFunc(rows, func(sb shoal.Sandbox) bool {
		order := newestFirst(sb, last)
		return (!ascending && order <= 0) || (ascending && order >= 0)
	})
}

func countRunning(rows []shoal.Sandbox) int {
	n := 0
	for _, sb := range rows {
		if sb.State.Public() == shoal.StateRunning {
			n++
		}
	}
	return n
}

// parseMetadata decodes a metadata filter. The whole is encoded once more than
// usual, and each key and value by itself once more again (api.md §3.3).
func parseMetadata(param *string) (map[string]string, error) {
	if param == nil || *param == "" {
		return nil, nil
	}
	whole, err := url.QueryUnescape(*param)
	if err != nil {
		return nil, shoal.ErrBadRequest.New("Error parsing metadata: %s", err)
	}
	metadata := map[string]string{}
	for part := range strings.SplitSeq(whole, "&") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, shoal.ErrBadRequest.New("Error parsing metadata: %q is not key=value", part)
		}
		if key, err = url.QueryUnescape(key); err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return nil, shoal.ErrBadRequest.New("Error parsing metadata: %s", err)
		}
		metadata[key] = value
	}
	return metadata, nil
}
