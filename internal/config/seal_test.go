package config

import (
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/keyring"
)

// TestSealRotation: in the data directory there is one secret, two while a rotation is under way, which
// goes on with the same one when it was cut off, and in the end the new one; a process that runs meanwhile
// finds it.
func TestSealRotation(t *testing.T) {
	c := &Config{DataDir: t.TempDir()}
	if _, err := c.KnownKeyring(); err == nil {
		t.Error("there is a key that nobody has made")
	}
	running, err := c.Keyring()
	if err != nil {
		t.Fatal(err)
	}
	first := running.First()
	sealed, err := running.Seal(t.Context(), first, "it", []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	var second string
	for range 2 {
		if err := c.BeginSealRotation(); err != nil {
			t.Fatal(err)
		}
		during, err := c.Keyring()
		if err != nil {
			t.Fatal(err)
		}
		if second != "" && during.First() != second {
			t.Error("the second try has made another secret")
		}
		second = during.First()
		if got, err := during.Open(t.Context(), "it", sealed); err != nil || string(got) != "value" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if second == first || !running.Has(second) {
		t.Error("there is no new key")
	}
	for range 2 {
		if err := c.EndSealRotation(); err != nil {
			t.Fatal(err)
		}
	}
	after, err := c.Keyring()
	if err != nil || after.First() != second || after.Has(first) {
		t.Errorf("%v, the former one is there: %v", err, after.Has(first))
	}
	info, err := os.Stat(filepath.Join(c.DataDir, "secrets", "seal-secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestSealKeys: the settings are first, and what the data directory has stays readable.
func TestSealKeys(t *testing.T) {
	c := &Config{DataDir: t.TempDir()}
	own, err := c.Keyring()
	if err != nil {
		t.Fatal(err)
	}
	c.SealSecret, c.FormerSealSecrets = "given", []string{"former"}
	id := func(secret string) string {
		key, err := keyring.NewLocal(secret)
		if err != nil {
			t.Fatal(err)
		}
		return key.ID()
	}
	ring, err := c.Keyring()
	if err != nil || ring.First() != id("given") || !ring.Has(id("former")) || !ring.Has(own.First()) {
		t.Errorf("%v, first %s", err, ring.First())
	}
	c.SealCommand = "/program"
	if ring, err = c.Keyring(); err != nil || ring.First() != keyring.NewCommand("").ID() || !ring.Has(id("given")) {
		t.Errorf("%v, first %s", err, ring.First())
	}
}
