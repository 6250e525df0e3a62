package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func newSecret(team, name string) shoal.Secret {
	return shoal.Secret{ID: shoal.NewSecretID(), TeamID: team, Name: name, Version: 1,
		Metadata: map[string]string{"k": name}, CreatedAt: start, UpdatedAt: start}
}

// TestSecrets: a secret is found by its ID and its name by its own team alone, changes by versions, and
// is only in its record as what nobody without the key can read.
func TestSecrets(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		s := sealedStore(t, location, "key")
		alpha, beta := makeTeam(t, s, "alpha").ID, makeTeam(t, s, "beta").ID
		ours, theirs := newSecret(alpha, "name"), newSecret(beta, "name")
		for secret, value := range map[*shoal.Secret]string{&ours: "our value", &theirs: "their value"} {
			if err := s.AddSecret(ctx, *secret, value, 2); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range []string{"name", ours.ID} {
			got, value, err := s.SecretValue(ctx, alpha, key)
			if err != nil || value != "our value" || got.ID != ours.ID || !got.CreatedAt.Equal(start) || !maps.Equal(got.Metadata, ours.Metadata) {
				t.Errorf("%s: %+v, %q, %v", key, got, value, err)
			}
		}
		for name, err := range map[string]error{
			"read":    func() error { _, err := s.Secret(ctx, alpha, theirs.ID); return err }(),
			"value":   func() error { _, _, err := s.SecretValue(ctx, alpha, theirs.ID); return err }(),
			"changed": func() error { _, err := s.ChangeSecret(ctx, alpha, theirs.ID, "v", nil, start); return err }(),
			"removed": s.RemoveSecret(ctx, alpha, theirs.ID),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("another team's is %s: %v", name, err)
			}
		}
		if err := s.AddSecret(ctx, newSecret(alpha, "name"), "v", 2); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
		if err := s.AddSecret(ctx, newSecret(alpha, "second"), "v", 2); err != nil {
			t.Error(err)
		}
		if err := s.AddSecret(ctx, newSecret(alpha, "third"), "v", 2); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		later := start.Add(time.Hour)
		changed, err := s.ChangeSecret(ctx, alpha, "name", "new value", nil, later)
		if err != nil || changed.Version != 2 || changed.Metadata["k"] != "name" || !changed.UpdatedAt.Equal(later) {
			t.Errorf("%+v, %v", changed, err)
		}
		if changed, err = s.ChangeSecret(ctx, alpha, "name", "new value", map[string]string{}, later); err != nil || len(changed.Metadata) != 0 {
			t.Errorf("%+v, %v", changed, err)
		}
		if _, value, err := s.SecretValue(ctx, alpha, "name"); err != nil || value != "new value" {
			t.Errorf("%q, %v", value, err)
		}
		// A value of an earlier version, or of another record, does not open.
		for _, change := range []string{`UPDATE secrets SET version = version - 1 WHERE id = $1`,
			`UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE team_id <> '` + alpha + `') WHERE id = $1`} {
			if _, err := s.db.ExecContext(ctx, change, ours.ID); err != nil {
				t.Fatal(err)
			}
			if _, value, err := s.SecretValue(ctx, alpha, "name"); !shoal.ErrSealed.Matches(err) {
				t.Errorf("%s: %q, %v", change, value, err)
			}
		}
		if err := s.RemoveSecret(ctx, alpha, ours.ID); err != nil {
			t.Error(err)
		}
		if err := s.RemoveSecret(ctx, alpha, ours.ID); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

// TestSecretsInPages: each comes once, newest first.
func TestSecretsInPages(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		s := sealedStore(t, location, "key")
		team := makeTeam(t, s, "alpha").ID
		var want []string
		for i := range 5 {
			secret := newSecret(team, fmt.Sprint("n", i))
			secret.CreatedAt = start.Add(time.Duration(i/2) * time.Second) // two at the same time
			if err := s.AddSecret(ctx, secret, "v", 10); err != nil {
				t.Fatal(err)
			}
			want = append(want, secret.ID)
		}
		slices.Reverse(want)
		var got []string
		var after *SecretPlace
		for {
			page, err := s.Secrets(ctx, team, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, secret := range page {
				got = append(got, secret.ID)
				after = &SecretPlace{secret.CreatedAt, secret.ID}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestSecretChangedAtOnce: each of many changes is a version of its own, and the last one's value stays.
func TestSecretChangedAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		s := sealedStore(t, location, "key")
		team := makeTeam(t, s, "alpha").ID
		if err := s.AddSecret(ctx, newSecret(team, "name"), "0", 10); err != nil {
			t.Fatal(err)
		}
		values := make([]string, 20)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				value := strings.Repeat("v", i+1)
				changed, err := s.ChangeSecret(ctx, team, "name", value, nil, start)
				if err == nil {
					values[changed.Version] = value
				} else if !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, value, err := s.SecretValue(ctx, team, "name")
		if err != nil || got.Version < 2 || value != values[got.Version] {
			t.Errorf("version %d is %q, %v; want %q", got.Version, value, err, values[got.Version])
		}
	})
}
