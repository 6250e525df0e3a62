package store

import (
	"encoding/json"
	"fmt"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// buildText holds the fields of a build that are stored as JSON. Empty fields are
// stored as empty strings, which is also what builds of older versions have.
type buildText struct{ layers, context, startContext, runtime string }

func encodeBuild(b shoal.Build) (buildText, error) {
	var text buildText
	for _, f := range []struct {
		to    *string
		value any
		none  string
	}{{&text.layers, b.Layers, "null"}, {&text.context, b.Context, "{}"},
		{&text.startContext, b.Start.Context, "{}"}, {&text.runtime, b.Runtime, "{}"}} {
		data, err := json.Marshal(f.value)
		if err != nil {
			return text, fmt.Errorf("encode build %s: %w", b.ID, err)
		}
		if string(data) != f.none {
			*f.to = string(data)
		}
	}
	return text, nil
}

func decodeBuild(row sqlcgen.Build) (shoal.Build, error) {
	b := shoal.Build{ID: row.ID, TemplateID: row.TemplateID, Status: shoal.BuildStatus(row.Status),
		Resources:   shoal.Resources{CPUCount: int(row.CpuCount), MemoryMB: row.MemoryMb, DiskMB: row.DiskMb},
		EnvdVersion: row.EnvdVersion, ImageDigest: row.ImageDigest, Snapshot: row.Snapshot, SandboxID: row.SandboxID,
		DefaultUser: row.DefaultUser, DefaultWorkdir: row.DefaultWorkdir, Origin: row.Origin,
		Start:     shoal.StartBlock{Command: row.StartCmd, Ready: row.ReadyCmd},
		Reason:    shoal.BuildReason{Message: row.ReasonMessage, Step: row.ReasonStep},
		CreatedAt: fromMicros(row.CreatedAt), UpdatedAt: fromMicros(row.UpdatedAt), FinishedAt: fromMicros(row.FinishedAt)}
	for _, f := range []struct {
		text string
		to   any
	}{{row.Layers, &b.Layers}, {row.Context, &b.Context}, {row.StartContext, &b.Start.Context},
		{row.Runtime, &b.Runtime}} {
		if f.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(f.text), f.to); err != nil {
			return b, fmt.Errorf("decode build %s: %w", row.ID, err)
		}
	}
	return b, nil
}

// found decodes the result of a query for one build.
func found(row sqlcgen.Build, err error, what string) (shoal.Build, error) {
	if err := lookup(err, what); err != nil {
		return shoal.Build{}, err
	}
	return decodeBuild(row)
}
