package gvisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"gvisor.dev/gvisor/runsc/specutils"

	"shoal/internal/runtime"
)

const (
	openFiles    = 65536     // soft limit of open files per process
	openFilesMax = 1_048_576 // hard limit
)

// buildSpec describes the guest to gVisor. A restore compares most of it with what the
// checkpoint recorded, so apart from hostname, environment and resources nothing here may
// differ from one boot to the next.
func (d *Driver) buildSpec(s runtime.Spec) *specs.Spec {
	memory := s.Resources.MemoryMB << 20
	capabilities := everyCapability()
	return &specs.Spec{
		Version:  specs.Version,
		Hostname: s.Hostname,
		Root:     &specs.Root{Path: filepath.Join(d.opts.RunDir, emptyDir)},
		Process: &specs.Process{
			Args: s.First.Args,
			Env:  s.First.Env,
			Cwd:  "/",
			// These are capabilities inside the sandbox kernel; the host grants none.
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities,
				Inheritable: capabilities, Permitted: capabilities},
			Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: openFiles, Hard: openFilesMax}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs"},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=64m"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs",
				Options: []string{fmt.Sprintf("size=%d", memory/4)}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.NetworkNamespace, Path: filepath.Join(d.opts.RunDir, emptyNetns)},
			},
			Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}},
		},
	}
}

// withUpper returns the spec that makes runsc pass a writable layer to the kernel. The
// kernel itself reads the bundle's spec, which does not name the layer; otherwise a
// checkpoint could only be restored with the same file in the same place.
func withUpper(spec *specs.Spec, path string) *specs.Spec {
	if path == "" {
		return spec
	}
	with := *spec
	with.Annotations = map[string]string{specutils.AnnotationRootfsUpperTar: path}
	return &with
}

// writeBundle stores the spec where the kernel reads it.
func writeBundle(dir string, spec *specs.Spec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode the guest's spec: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		return fmt.Errorf("write the guest's spec: %w", err)
	}
	return nil
}

// everyCapability is sorted, because a restore compares the lists in order.
func everyCapability() []string {
	names := specutils.AllCapabilities().Bounding
	slices.Sort(names)
	return names
}
