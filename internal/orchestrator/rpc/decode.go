package rpc

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/shoal"
)

// From the wire to the domain.

func decodeTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func decodeResources(r *nodev1.Resources) shoal.Resources {
	return shoal.Resources{CPUCount: int(r.GetCpuCount()), MemoryMB: r.GetMemoryMb(), DiskMB: r.GetDiskMb()}
}

func decodeNetwork(n *nodev1.Network) shoal.Network {
	if n == nil {
		return shoal.Network{}
	}
	out := shoal.Network{AllowInternet: n.AllowInternet, AllowOut: n.AllowOut, DenyOut: n.DenyOut,
		TrafficAccessToken: n.TrafficAccessToken, MaskRequestHost: n.MaskRequestHost}
	if n.DnsServers != nil {
		out.DNSServers = append([]string{}, n.DnsServers.Addresses...)
	}
	for _, p := range n.HttpsPorts {
		out.HTTPSPorts = append(out.HTTPSPorts, int(p))
	}
	if p := n.EgressProxy; p != nil {
		out.EgressProxy = &shoal.EgressProxy{Address: p.Address, Username: p.Username, Password: p.Password}
		if p.Tls != nil {
			out.EgressProxy.TLS = &shoal.ProxyTLS{ServerName: p.Tls.ServerName, CACert: p.Tls.CaCert}
		}
	}
	for domain, t := range n.Transforms {
		if out.Transforms == nil {
			out.Transforms = map[string]shoal.Transform{}
		}
		out.Transforms[domain] = shoal.Transform{Headers: t.Headers}
	}
	return out
}

func decodeSpec(s *nodev1.Spec) shoal.Spec {
	l := s.GetLifecycle()
	out := shoal.Spec{
		SandboxID: s.GetSandboxId(), TeamID: s.GetTeamId(), TemplateID: s.GetTemplateId(), BuildID: s.GetBuildId(), Alias: s.GetAlias(),
		EnvdVersion: s.GetEnvdVersion(), Resources: decodeResources(s.GetResources()), Metadata: s.GetMetadata(), EnvVars: s.GetEnvVars(),
		Timeout: s.GetTimeout().AsDuration(), MaxLength: s.GetMaxLength().AsDuration(),
		Lifecycle: shoal.Lifecycle{AutoPause: l.GetAutoPause(), AutoPauseNoMem: l.GetAutoPauseWithoutMemory(),
			AutoResume: l.GetAutoResume(), AutoResumeAfter: l.GetAutoResumeAfter().AsDuration()},
		Network: decodeNetwork(s.GetNetwork()), EnvdAccessToken: s.GetEnvdAccessToken(),
		DefaultUser: s.GetDefaultUser(), DefaultWorkdir: s.GetDefaultWorkdir(), TeamLimit: int(s.GetTeamLimit()),
	}
	for _, m := range s.GetVolumeMounts() {
		out.VolumeMounts = append(out.VolumeMounts, shoal.VolumeMount{Name: m.GetName(), Path: m.GetPath(),
			ID: m.GetId(), Backend: m.GetBackend(), SizeMB: m.GetSizeMb()})
	}
	for name, t := range s.GetWorkloadTokens() {
		if out.WorkloadTokens == nil {
			out.WorkloadTokens = map[string]shoal.WorkloadToken{}
		}
		out.WorkloadTokens[name] = shoal.WorkloadToken{Audience: t.Audience, Type: t.Type}
	}
	return out
}

func decodeSandbox(s *nodev1.Sandbox) shoal.Sandbox {
	return shoal.Sandbox{
		Spec:        decodeSpec(s.GetSpec()),
		State:       shoal.State(s.GetState()),
		ExecutionID: s.GetExecutionId(),
		NodeID:      s.GetNodeId(),
		StartedAt:   decodeTime(s.GetStartedAt()),
		EndAt:       decodeTime(s.GetEndAt()),
		HostIP:      s.GetHostIp(),
		ColdBoot:    s.GetColdBoot(),
		KeptBytes:   s.GetKeptBytes(),
		PauseMode:   shoal.PauseMode(s.GetPauseMode()),

		DaemonSilent: s.GetDaemonSilent(), Runtime: s.GetRuntime(),
	}
}

func decodeLogQuery(q *nodev1.LogsRequest) shoal.LogQuery {
	return shoal.LogQuery{
		From:     decodeTime(q.GetFrom()),
		Backward: q.GetBackward(),
		Level:    shoal.LogLevel(q.GetLevel()),
		Search:   q.GetSearch(),
		Limit:    int(q.GetLimit()),
	}
}

func decodeLogEntry(e *nodev1.LogEntry) shoal.LogEntry {
	return shoal.LogEntry{
		Time:    decodeTime(e.GetTime()),
		Level:   shoal.LogLevel(e.GetLevel()),
		Message: e.GetMessage(),
		Fields:  e.GetFields(),
		Line:    e.GetLine(),
	}
}

func decodeEvent(e *nodev1.Event) shoal.Event {
	return shoal.Event{
		ID:          e.GetId(),
		Number:      e.GetNumber(),
		Type:        shoal.EventType(e.GetType()),
		Time:        decodeTime(e.GetTime()),
		SandboxID:   e.GetSandboxId(),
		ExecutionID: e.GetExecutionId(),
		TemplateID:  e.GetTemplateId(),
		BuildID:     e.GetBuildId(),
		TeamID:      e.GetTeamId(),
		Data:        e.GetData(),
	}
}

func decodeMark(m *nodev1.EventMark) shoal.EventMark {
	return shoal.EventMark{Log: m.GetLog(), Position: m.GetPosition()}
}

func decodeBuild(b *nodev1.Build) shoal.Build {
	return shoal.Build{
		ID:             b.GetId(),
		TemplateID:     b.GetTemplateId(),
		Status:         shoal.BuildStatus(b.GetStatus()),
		Resources:      decodeResources(b.GetResources()),
		EnvdVersion:    b.GetEnvdVersion(),
		ImageDigest:    b.GetImageDigest(),
		Snapshot:       b.GetSnapshot(),
		SandboxID:      b.GetSandboxId(),
		DefaultUser:    b.GetDefaultUser(),
		DefaultWorkdir: b.GetDefaultWorkdir(),
		CreatedAt:      decodeTime(b.GetCreatedAt()),
		UpdatedAt:      decodeTime(b.GetUpdatedAt()),
		FinishedAt:     decodeTime(b.GetFinishedAt()),
		Layers:         b.GetLayers(),
		Origin:         b.GetOrigin(),
		Context:        decodeContext(b.GetContext()),
		Start: shoal.StartBlock{Command: b.GetStart().GetCommand(), Ready: b.GetStart().GetReady(),
			Context: decodeContext(b.GetStart().GetContext())},
		Runtime: shoal.RuntimeWish{Name: b.GetRuntime(), Required: b.GetRuntimeRequired()},
		Reason:  shoal.BuildReason{Message: b.GetReasonMessage(), Step: b.GetReasonStep()},
		Size:    decodeSize(b.GetSize()),
	}
}

func decodeSize(s *nodev1.BuildSize) *shoal.BuildSize {
	if s == nil {
		return nil
	}
	return &shoal.BuildSize{Snapshot: s.Snapshot, Images: s.Images}
}

func decodeContext(c *nodev1.BuildContext) shoal.BuildContext {
	return shoal.BuildContext{User: c.GetUser(), Workdir: c.GetWorkdir(), Env: c.GetEnv()}
}

func decodeInfo(i *nodev1.NodeInfo) shoal.NodeInfo {
	out := shoal.NodeInfo{
		ID:          i.GetId(),
		Version:     i.GetVersion(),
		Status:      shoal.NodeStatus(i.GetStatus()),
		CPUCount:    int(i.GetCpuCount()),
		MemoryTotal: i.GetMemoryTotal(),
		Sandboxes:   int(i.GetSandboxes()),
		Starting:    int(i.GetStarting()),
		CreateOK:    i.GetCreateOk(),
		CreateFail:  i.GetCreateFail(),
		Runtimes:    i.GetRuntimes(),
	}
	for _, b := range i.GetBuilds() {
		out.Builds = append(out.Builds, decodeBuild(b))
	}
	return out
}
