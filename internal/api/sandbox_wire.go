package api

import (
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// wireSandbox is the answer of create and connect (api.md §3.0).
func (s *Server) wireSandbox(sb shoal.Sandbox) gen.Sandbox {
	return gen.Sandbox{
		TemplateID:         sb.TemplateID,
		SandboxID:          sb.SandboxID,
		ClientID:           shoal.ClientID,
		EnvdVersion:        sb.EnvdVersion,
		Alias:              optional(sb.Alias),
		EnvdAccessToken:    optional(sb.EnvdAccessToken),
		TrafficAccessToken: optional(sb.Network.TrafficAccessToken),
		Domain:             optional(s.domain),
		EnvdURL:            optional(sb.EnvdURL()),
		HostAddress:        optional(sb.HostIP),
		Runtime:            optional(sb.Runtime),
		ColdBoot:           onlyTrue(sb.ColdBoot),
	}
}

func (s *Server) wireListed(sb shoal.Sandbox) gen.ListedSandbox {
	listed := gen.ListedSandbox{
		TemplateID:  sb.TemplateID,
		SandboxID:   sb.SandboxID,
		ClientID:    shoal.ClientID,
		Alias:       &sb.Alias,
		StartedAt:   wireTime(sb.StartedAt),
		EndAt:       wireTime(sb.EndAt),
		CpuCount:    int32(sb.Resources.CPUCount),
		MemoryMB:    sb.Resources.MemoryMB,
		DiskSizeMB:  sb.Resources.DiskMB,
		State:       gen.SandboxState(sb.State.Public()),
		EnvdVersion: sb.EnvdVersion,
		EnvdURL:     optional(sb.EnvdURL()),
		HostAddress: optional(sb.HostIP),
		Runtime:     optional(sb.Runtime),

		EnvdUnresponsiveAtPause: onlyTrue(sb.DaemonSilent),
	}
	if len(sb.Metadata) > 0 {
		metadata := gen.StringMap(sb.Metadata)
		listed.Metadata = &metadata
	}
	mounts := make([]gen.VolumeMount, len(sb.VolumeMounts))
	for i, m := range sb.VolumeMounts {
		mounts[i] = gen.VolumeMount{Name: m.Name, Path: m.Path}
	}
	listed.VolumeMounts = &mounts
	return listed
}

func (s *Server) wireDetail(sb shoal.Sandbox) gen.SandboxDetail {
	l := s.wireListed(sb)
	detail := gen.SandboxDetail{
		TemplateID:   l.TemplateID,
		SandboxID:    l.SandboxID,
		ClientID:     l.ClientID,
		Alias:        l.Alias,
		StartedAt:    l.StartedAt,
		EndAt:        l.EndAt,
		CpuCount:     l.CpuCount,
		MemoryMB:     l.MemoryMB,
		DiskSizeMB:   l.DiskSizeMB,
		State:        l.State,
		EnvdVersion:  l.EnvdVersion,
		EnvdURL:      l.EnvdURL,
		HostAddress:  l.HostAddress,
		Runtime:      l.Runtime,
		Metadata:     l.Metadata,
		VolumeMounts: l.VolumeMounts,

		EnvdUnresponsiveAtPause: l.EnvdUnresponsiveAtPause,

		ColdBoot:            onlyTrue(sb.ColdBoot),
		EnvdAccessToken:     optional(sb.EnvdAccessToken),
		AllowInternetAccess: sb.Network.AllowInternet,
		Domain:              optional(s.domain),
		Network:             wireNetwork(sb.Network),
		Lifecycle:           &gen.Lifecycle{AutoResume: sb.Lifecycle.AutoResume, OnTimeout: gen.Kill},
	}
	if mode := gen.PauseMode(sb.PauseMode); mode != "" {
		detail.PauseMode = &mode
	}
	if sb.Lifecycle.AutoPause {
		detail.Lifecycle.OnTimeout = gen.Pause
	}
	return detail
}

// wireNetwork shows the policy as it was sent; nil if none was.
func wireNetwork(n shoal.Network) *gen.Network {
	private := n.TrafficAccessToken != ""
	entries := len(n.AllowOut) + len(n.DenyOut) + len(n.HTTPSPorts) + len(n.Transforms)
	if !private && n.MaskRequestHost == "" && entries == 0 && n.DNSServers == nil && n.EgressProxy == nil {
		return nil
	}
	public := !private
	wire := &gen.Network{AllowPublicTraffic: &public, MaskRequestHost: optional(n.MaskRequestHost),
		EgressProxy: wireEgressProxy(n.EgressProxy), Rules: wireRules(n.Transforms)}
	if len(n.AllowOut) > 0 {
		wire.AllowOut = &n.AllowOut
	}
	if len(n.DenyOut) > 0 {
		wire.DenyOut = &n.DenyOut
	}
	if n.DNSServers != nil {
		wire.DnsServers = &n.DNSServers
	}
	if len(n.HTTPSPorts) > 0 {
		wire.HttpsPorts = &n.HTTPSPorts
	}
	return wire
}

// optional leaves out what is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// onlyTrue leaves out what is false.
func onlyTrue(b bool) *bool {
	if !b {
		return nil
	}
	return &b
}

// wireTime has the resolution that list filters and cursors have.
func wireTime(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
