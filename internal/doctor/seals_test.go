package doctor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestSeals: a key that is missing, wrong, or does not work is told, and one that is to come is no fault.
func TestSeals(t *testing.T) {
	cfg := settings(t)
	location := cfg.DatabaseLocation()
	migrated(t, location)
	seals := func() Result { return about(askDatabase(t.Context(), cfg), "seals") }
	wants(t, seals(), OK, "nothing is sealed yet")
	st, err := store.Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := cfg.Keyring()
	if err != nil {
		t.Fatal(err)
	}
	st.SealBy(ring)
	team := shoal.Team{ID: "11111111-1111-4111-8111-111111111111", Slug: "t", Limits: shoal.DefaultTeamLimits()}
	if err := st.CreateTeamWithKey(t.Context(), team, shoal.APIKey{ID: "k", TeamID: team.ID, Hash: "h"}); err != nil {
		t.Fatal(err)
	}
	secret := shoal.Secret{ID: shoal.NewSecretID(), TeamID: team.ID, Name: "n", Version: 1, CreatedAt: time.Now(), UpdatedAt: time.Now()}
	if err := st.AddSecret(t.Context(), secret, "value", 1); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	wants(t, seals(), OK, "key "+ring.First())
	cfg.SealSecret = "one to come"
	wants(t, seals(), Note, "key "+ring.First()+" seals")
	file := filepath.Join(cfg.DataDir, "secrets", "seal-secret")
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	wants(t, seals(), Fail, "sealed by key "+ring.First()+", which is not here")
	cfg.SealSecret = ""
	wants(t, seals(), Fail, "there is none here")
	cfg.FormerSealSecrets, cfg.SealCommand = []string{string(kept[:len(kept)-1])}, "/nowhere"
	wants(t, seals(), Fail, "the key does not work")
}
