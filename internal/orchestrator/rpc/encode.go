package rpc

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/shoal"
)

// From the domain to the wire. TestRoundTrip fills every field and compares, so a
// field that is forgotten here fails there.

func encodeTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func encodeResources(r shoal.Resources) *nodev1.Resources {
	return &nodev1.Resources{CpuCount: int32(r.CPUCount), MemoryMb: r.MemoryMB, DiskMb: r.DiskMB}
}

func encodeNetwork(n shoal.Network) *nodev1.Network {
	out := &nodev1.Network{AllowInternet: n.AllowInternet, AllowOut: n.AllowOut, DenyOut: n.DenyOut,
		TrafficAccessToken: n.TrafficAccessToken, MaskRequestHost: n.MaskRequestHost}
	if n.DNSServers != nil {
		out.DnsServers = &nodev1.DNSServers{Addresses: n.DNSServers}
	}
	for _, p := range n.HTTPSPorts {
		out.HttpsPorts = append(out.HttpsPorts, int32(p))
	}
	if p := n.EgressProxy; p != nil {
		out.EgressProxy = &nodev1.EgressProxy{Address: p.Address, Username: p.Username, Password: p.Password}
		if p.TLS != nil {
			out.EgressProxy.Tls = &nodev1.ProxyTLS{ServerName: p.TLS.ServerName, CaCert: p.TLS.CACert}
		}
	}
	for domain, t := range n.Transforms {
		if out.Transforms == nil {
			out.Transforms = map[string]*nodev1.Transform{}
		}
		out.Transforms[domain] = &nodev1.Transform{Headers: t.Headers}
	}
	return out
}

func encodeSpec(s shoal.Spec) *nodev1.Spec {
	out := &nodev1.Spec{
		SandboxId: s.SandboxID, TeamId: s.TeamID, TemplateId: s.TemplateID, BuildId: s.BuildID, Alias: s.Alias,
		EnvdVersion: s.EnvdVersion, Resources: encodeResources(s.Resources), Metadata: s.Metadata, EnvVars: s.EnvVars,
		Timeout: durationpb.New(s.Timeout), MaxLength: durationpb.New(s.MaxLength),
		Lifecycle: &nodev1.Lifecycle{
			AutoPause:              s.Lifecycle.AutoPause,
			AutoPauseWithoutMemory: s.Lifecycle.AutoPauseNoMem,
			AutoResume:             s.Lifecycle.AutoResume,
			AutoResumeAfter:        durationpb.New(s.Lifecycle.AutoResumeAfter),
		},
		Network: encodeNetwork(s.Network), EnvdAccessToken: s.EnvdAccessToken,
		DefaultUser: s.DefaultUser, DefaultWorkdir: s.DefaultWorkdir, TeamLimit: int32(s.TeamLimit),
	}
	for _, m := range s.VolumeMounts {
		out.VolumeMounts = append(out.VolumeMounts, &nodev1.VolumeMount{Name: m.Name, Path: m.Path,
			Id: m.ID, Backend: m.Backend, SizeMb: m.SizeMB})
	}
	for name, t := range s.WorkloadTokens {
		if out.WorkloadTokens == nil {
			out.WorkloadTokens = map[string]*nodev1.WorkloadToken{}
		}
		out.WorkloadTokens[name] = &nodev1.WorkloadToken{Audience: t.Audience, Type: t.Type}
	}
	return out
}

func encodeSandbox(s shoal.Sandbox) *nodev1.Sandbox {
	return &nodev1.Sandbox{
		Spec:        encodeSpec(s.Spec),
		State:       string(s.State),
		ExecutionId: s.ExecutionID,
		NodeId:      s.NodeID,
		StartedAt:   encodeTime(s.StartedAt),
		EndAt:       encodeTime(s.EndAt),
		HostIp:      s.HostIP,
		ColdBoot:    s.ColdBoot,
		KeptBytes:   s.KeptBytes,
		PauseMode:   string(s.PauseMode),

		DaemonSilent: s.DaemonSilent, Runtime: s.Runtime,
	}
}

func encodeLogQuery(q shoal.LogQuery) *nodev1.LogsRequest {
	return &nodev1.LogsRequest{
		From:     encodeTime(q.From),
		Backward: q.Backward,
		Level:    string(q.Level),
		Search:   q.Search,
		Limit:    int32(q.Limit),
	}
}

func encodeLogEntry(e shoal.LogEntry) *nodev1.LogEntry {
	return &nodev1.LogEntry{
		Time:    encodeTime(e.Time),
		Level:   string(e.Level),
		Message: e.Message,
		Fields:  e.Fields,
		Line:    e.Line,
	}
}

func encodeEvent(e shoal.Event) *nodev1.Event {
	return &nodev1.Event{
		Id:          e.ID,
		Number:      e.Number,
		Type:        string(e.Type),
		Time:        encodeTime(e.Time),
		SandboxId:   e.SandboxID,
		ExecutionId: e.ExecutionID,
		TemplateId:  e.TemplateID,
		BuildId:     e.BuildID,
		TeamId:      e.TeamID,
		Data:        e.Data,
	}
}

func encodeMark(m shoal.EventMark) *nodev1.EventMark {
	return &nodev1.EventMark{Log: m.Log, Position: m.Position}
}

func encodeBuild(b shoal.Build) *nodev1.Build {
	return &nodev1.Build{
		Id:             b.ID,
		TemplateId:     b.TemplateID,
		Status:         string(b.Status),
		Resources:      encodeResources(b.Resources),
		EnvdVersion:    b.EnvdVersion,
		ImageDigest:    b.ImageDigest,
		Snapshot:       b.Snapshot,
		SandboxId:      b.SandboxID,
		DefaultUser:    b.DefaultUser,
		DefaultWorkdir: b.DefaultWorkdir,
		CreatedAt:      encodeTime(b.CreatedAt),
		UpdatedAt:      encodeTime(b.UpdatedAt),
		FinishedAt:     encodeTime(b.FinishedAt),
		Layers:         b.Layers,
		Origin:         b.Origin,
		Context:        encodeContext(b.Context),
		Start: &nodev1.StartBlock{
			Command: b.Start.Command,
			Ready:   b.Start.Ready,
			Context: encodeContext(b.Start.Context),
		},
		ReasonMessage:   b.Reason.Message,
		ReasonStep:      b.Reason.Step,
		Runtime:         b.Runtime.Name,
		RuntimeRequired: b.Runtime.Required,
		Size:            encodeSize(b.Size),
	}
}

func encodeSize(s *shoal.BuildSize) *nodev1.BuildSize {
	if s == nil {
		return nil
	}
	return &nodev1.BuildSize{Snapshot: s.Snapshot, Images: s.Images}
}

func encodeContext(c shoal.BuildContext) *nodev1.BuildContext {
	return &nodev1.BuildContext{User: c.User, Workdir: c.Workdir, Env: c.Env}
}

func encodeInfo(i shoal.NodeInfo) *nodev1.NodeInfo {
	out := &nodev1.NodeInfo{
		Id:          i.ID,
		Version:     i.Version,
		Status:      string(i.Status),
		CpuCount:    int32(i.CPUCount),
		MemoryTotal: i.MemoryTotal,
		Sandboxes:   int32(i.Sandboxes),
		Starting:    int32(i.Starting),
		CreateOk:    i.CreateOK,
		CreateFail:  i.CreateFail,
		Runtimes:    i.Runtimes,
	}
	for _, b := range i.Builds {
		out.Builds = append(out.Builds, encodeBuild(b))
	}
	return out
}
