package doctor

import (
	"context"
	"slices"
	"strings"

	"shoal/internal/config"
	"shoal/internal/store"
)

// inspectSeals finds out whether this machine has the keys of what is sealed in the database, and
// whether the one that is to be used works. The database must have the present schema.
func inspectSeals(ctx context.Context, cfg *config.Config, location string) Result {
	const fix = "set seal-secret, or former-seal-secrets, to what it was, or to that of the other apis: " +
		"secrets/seal-secret of their data directory has it"
	state, err := store.AskSeals(ctx, location)
	if err != nil {
		return Fail.because("see `shoal migrate verify`", "which keys are needed cannot be read: %s",
			withoutPassword(location, err)).of("seals")
	}
	needed := state.Heads
	if state.Key != "" && !slices.Contains(needed, state.Key) {
		needed = append(needed, state.Key)
	}
	ring, err := cfg.KnownKeyring()
	switch {
	case err != nil && len(needed) == 0:
		return ok("nothing is sealed yet").of("seals")
	case err != nil:
		return Fail.because(fix, "values are sealed by key %s, and there is none here: %v",
			strings.Join(needed, ", "), err).of("seals")
	}
	for _, id := range needed {
		if !ring.Has(id) {
			return Fail.because(fix+"; what a lost key has sealed can only be removed, by `shoal secret rm` and `shoal webhook rm`",
				"values are sealed by key %s, which is not here", id).of("seals")
		}
	}
	sealed, err := ring.Seal(ctx, ring.First(), "doctor", []byte("probe"))
	if err == nil {
		_, err = ring.Open(ctx, "doctor", sealed)
	}
	if err != nil {
		return Fail.because("run the program of seal-command as the setting says", "the key does not work: %v", err).of("seals")
	}
	if len(state.Heads) > 1 || state.Key != "" && state.Key != ring.First() {
		return Note.because("shoal secret key rotate, when all apis have the new key",
			"key %s seals, and %s is the first here; what there is is by %s", state.Key, ring.First(),
			strings.Join(state.Heads, ", ")).of("seals")
	}
	return ok("key %s", ring.First()).of("seals")
}
