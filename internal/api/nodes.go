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

// DiscoverNodes is ListNodes for frontends that poll this path (runtime.md P8).
func (s *Server) DiscoverNodes(context.Context, gen.DiscoverNodesRequestObject) (gen.DiscoverNodesResponseObject, error) {
	return gen.DiscoverNodes200JSONResponse(s.nodes()), nil
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
