package machine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/image"
	"shoal/internal/shoal"
)

// offerBase ensures that this machine has the base template's image, and adds its build to
// those that sandboxes can start from.
func (m *Machine) offerBase(ctx context.Context, progress func(image.Progress)) (shoal.Build, error) {
	envd := m.options.Envd()
	if len(envd) == 0 {
		return shoal.Build{}, errors.New("this binary was built without envd; build it with `make build`")
	}
	result, err := image.NewBuilder(m.shared, m.log).EnsureBase(ctx, image.Options{
		Envd: envd, CAFiles: m.certificateAuthorities(), Progress: progress,
	})
	if err != nil {
		return shoal.Build{}, err
	}
	since, err := offerSince(m.cfg.DataDir, result.Digest, time.Now())
	if err != nil {
		return shoal.Build{}, err
	}
	build := shoal.Build{
		ID:         buildIDOf(result.Digest),
		TemplateID: shoal.BaseTemplateID, Status: shoal.BuildReady,
		Resources:   shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: m.cfg.SandboxDisk},
		EnvdVersion: envdapi.Version, ImageDigest: result.Digest,
		DefaultUser: result.DefaultUser, DefaultWorkdir: result.DefaultWorkdir,
		CreatedAt: since, UpdatedAt: since, FinishedAt: result.BuiltAt,
	}
	m.orch.AddBuild(build)
	return build, nil
}

// buildIDOf derives the build ID from the image's digest, so that it stays the same after
// a restart.
func buildIDOf(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return fmt.Sprintf("%s-%s-4%s-8%s-%s", hex[0:8], hex[8:12], hex[13:16], hex[17:20], hex[20:32])
}
