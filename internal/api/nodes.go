package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/fleet"
	"shoal/internal/shoal"
)

// ListNodes describes the machines to the operator.
func (s *Server) ListNodes(context.Context, gen.ListNodesRequestObject) (gen.ListNodesResponseObject, error) {
	return gen.ListNodes200JSONResponse(s.nodes()), nil
}

// DiscoverNodes is ListNodes for frontends that poll this path.
func (s *Server) DiscoverNodes(
	context.Context, gen.DiscoverNodesRequestObject,
) (gen.DiscoverNodesResponseObject, error) {
	return gen.DiscoverNodes200JSONResponse(s.nodes()), nil
}

// GetNode describes one machine to the operator.
func (s *Server) GetNode(_ context.Context, req gen.GetNodeRequestObject) (gen.GetNodeResponseObject, error) {
	for _, v := range s.fleet.Nodes() {
		if v.Info.ID == req.NodeID {
			return gen.GetNode200JSONResponse(wireNode(v)), nil
		}
	}
	return nil, shoal.ErrNodeNotFound.New("Node '%s' not found", req.NodeID)
}

// CountRunningSandboxes counts what runs by team, for the operator.
func (s *Server) CountRunningSandboxes(
	ctx context.Context, _ gen.CountRunningSandboxesRequestObject,
) (gen.CountRunningSandboxesResponseObject, error) {
	list, err := s.fleet.List(ctx)
	if err != nil {
		return nil, err
	}
	counts := gen.CountRunningSandboxes200JSONResponse{}
	for _, sb := range list {
		if sb.State.Public() == shoal.StateRunning {
			counts[sb.TeamID]++
		}
	}
	return counts, nil
}

func (s *Server) nodes() []gen.Node {
	views := s.fleet.Nodes()
	list := make([]gen.Node, len(views))
	for i, v := range views {
		list[i] = wireNode(v)
	}
	return list
}

func wireNode(v fleet.View) gen.Node {
	n := gen.Node{Id: v.Info.ID, ServiceInstanceID: v.Info.ID, ClusterID: shoal.NilBuildID,
		Version: v.Info.Version, Status: gen.NodeStatus(v.Info.Status), StatusChangedAt: v.Since,
		SandboxCount: int32(len(v.Sandboxes)), SandboxStartingCount: int32(v.Info.Starting),
		CreateSuccesses: v.Info.CreateOK, CreateFails: v.Info.CreateFail}
	if v.Since.IsZero() {
		n.Status = gen.NodeStatusConnecting
	}
	n.Metrics.CpuCount = int32(v.Info.CPUCount)
	n.Metrics.MemoryTotalBytes = v.Info.MemoryTotal
	n.Metrics.Disks = []map[string]any{}
	for _, sb := range v.Sandboxes {
		n.Metrics.AllocatedCPU += int64(sb.Resources.CPUCount)
		n.Metrics.AllocatedMemoryBytes += sb.Resources.MemoryMB << 20
	}
	return n
}
