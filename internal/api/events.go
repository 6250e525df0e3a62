package api

import (
	"context"
	"encoding/json"
	"fmt"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// defaultEvents is how many events or deliveries an answer has unless it is asked for more
// (runtime.md §6.4).
const defaultEvents = 10

// ListEvents lists the events of all of the team's sandboxes.
func (s *Server) ListEvents(
	ctx context.Context, req gen.ListEventsRequestObject,
) (gen.ListEventsResponseObject, error) {
	p := req.Params
	list, err := s.events(ctx, store.EventQuery{Types: eventTypes(p.Types), OldestFirst: deref(p.OrderAsc),
		Limit: eventLimit(p.Limit), Offset: int(deref(p.Offset))})
	return gen.ListEvents200JSONResponse(list), err
}

// ListSandboxEvents lists those of one sandbox. One that is unknown has none.
func (s *Server) ListSandboxEvents(
	ctx context.Context, req gen.ListSandboxEventsRequestObject,
) (gen.ListSandboxEventsResponseObject, error) {
	id, err := shoal.ParseSandboxID(req.SandboxID)
	if err != nil {
		return nil, err
	}
	p := req.Params
	list, err := s.events(ctx, store.EventQuery{SandboxID: id, Types: eventTypes(p.Types),
		OldestFirst: deref(p.OrderAsc), Limit: eventLimit(p.Limit), Offset: int(deref(p.Offset))})
	return gen.ListSandboxEvents200JSONResponse(list), err
}

func (s *Server) events(ctx context.Context, query store.EventQuery) ([]gen.SandboxEvent, error) {
	query.TeamID = callerOf(ctx).Team.ID
	list, err := s.history.Events(ctx, query)
	if err != nil {
		return nil, err
	}
	wire := make([]gen.SandboxEvent, len(list))
	for i, e := range list {
		if wire[i], err = wireEvent(e); err != nil {
			return nil, err
		}
	}
	return wire, nil
}

func wireEvent(e shoal.Event) (gen.SandboxEvent, error) {
	w := e.Wire()
	var data map[string]any
	if err := json.Unmarshal(w.Data, &data); err != nil {
		return gen.SandboxEvent{}, fmt.Errorf("read the data of event %s: %w", e.ID, err)
	}
	return gen.SandboxEvent{Version: w.Version, Id: w.ID, Type: gen.EventType(w.Type), EventData: data,
		SandboxBuildId: w.BuildID, SandboxExecutionId: w.ExecutionID, SandboxId: w.SandboxID, SandboxTeamId: w.TeamID,
		SandboxTemplateId: w.TemplateID, Timestamp: w.Time, SandboxEventNumber: w.Number}, nil
}

func eventLimit(limit *int32) int {
	if limit == nil {
		return defaultEvents
	}
	return int(*limit)
}

func eventTypes(wire *[]gen.EventType) []shoal.EventType {
	var list []shoal.EventType
	for _, t := range deref(wire) {
		list = append(list, shoal.EventType(t))
	}
	return list
}
