package api

import (
	"context"

	"shoal/internal/api/gen"
)

// CreateSnapshot is not available yet.
func (s *Server) CreateSnapshot(ctx context.Context, req gen.CreateSnapshotRequestObject) (gen.CreateSnapshotResponseObject, error) {
	return nil, s.notYet(ctx, req.SandboxID, "Making a snapshot")
}

// ListSnapshots lists none, for none can be made yet.
func (s *Server) ListSnapshots(context.Context, gen.ListSnapshotsRequestObject) (gen.ListSnapshotsResponseObject, error) {
	return gen.ListSnapshots200JSONResponse{}, nil
}
