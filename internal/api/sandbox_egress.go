package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// GetSandboxEgress returns what became of connections that were decided about by name, also after
// the sandbox has ended. An unknown sandbox has opened none.
func (s *Server) GetSandboxEgress(
	ctx context.Context, req gen.GetSandboxEgressRequestObject,
) (gen.GetSandboxEgressResponseObject, error) {
	id, err := shoal.ParseSandboxID(req.SandboxID)
	if err != nil {
		return nil, err
	}
	q := shoal.EgressQuery{TeamID: callerOf(ctx).Team.ID, From: second(req.Params.Start), To: second(req.Params.End)}
	if req.Params.Start != nil && afterEnd(q.From, q.To) {
		return nil, shoal.ErrBadRequest.New("Invalid time range for connections")
	}
	if req.Params.Limit != nil {
		if *req.Params.Limit < 1 || *req.Params.Limit > shoal.MaxEgressRecords {
			return nil, shoal.ErrBadRequest.New("limit must be between 1 and %d", shoal.MaxEgressRecords)
		}
		q.Limit = int(*req.Params.Limit)
	}
	list, err := s.history.EgressRecords(ctx, id, q)
	if err != nil {
		return nil, err
	}
	answer := make(gen.GetSandboxEgress200JSONResponse, len(list))
	for i, r := range list {
		answer[i] = gen.EgressRecord{Timestamp: r.Minute, TimestampUnix: r.Minute.Unix(), Target: r.Target,
			Port: int32(r.Port), Outcome: gen.EgressRecordOutcome(r.Outcome), Count: r.Count}
		if why := r.Outcome.Reason(); why != nil {
			answer[i].ErrorCode, answer[i].Cause, answer[i].Fix = &why.Code, &why.Cause, &why.Fix
		}
	}
	return answer, nil
}
