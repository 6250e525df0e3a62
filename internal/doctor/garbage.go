package doctor

import (
	"context"
	"path/filepath"

	"shoal/internal/artifact"
	"shoal/internal/config"
)

// checkGarbage tells if the machine last refused to collect garbage by a database: the disk
// then fills, because nothing is removed.
func checkGarbage(_ context.Context, cfg *config.Config) Result {
	refusal, trashed, err := artifact.Look(filepath.Join(cfg.DataDir, "artifacts"))
	if err != nil {
		return Warn.because("", "%v", err)
	}
	if refusal != "" {
		return Warn.because("check which database the api uses; if it is the right one, run `shoal gc --adopt`",
			"nothing is removed: %s", refusal)
	}
	var size int64
	for _, t := range trashed {
		size += t.Size()
	}
	return ok("%d snapshot(s) in the trash, %d MiB", len(trashed), size>>20)
}
