package store

import (
	"bytes"
	"strings"
	"testing"

	"shoal/internal/keyring"
	"shoal/internal/shoal"
)

// firstSeal is the secret "from before" as versions before data keys sealed it, by the key "key", for
// the webhook firstSealID.
const (
	firstSealID = "5f0c7c1c-5f0c-4c1c-8f0c-5f0c7c1c5f0c"
	firstSeal   = "sealed:1:3f3badf3:tApop7vKDP7H09QdhxzKb0fFHalvl5qlbgFRlhd5JTvcN1I9wJsR5fRO0rguE6YA5qz9VhMk4C1NwGVtrzS+4sqQ7dSNoOjrGF4/WcRupbvDBkyQCYCAOK9PNKe/42AaogiICKPKg47KXrXo4Y+bd9kt0psD/ZD5AkDJnOfSONWHoYVhsAb1VT8PYl50+bZzN7JUKoWr8Z1mFU1A9B40HYCKBwHw2I6jbLW8O3C3OI4Y9pB9iZobjEdZFh1dHStVazdygi6faT07xPYV7P8TOPXqzAAh1DYy2AniIVIFBHPF+Khksdhni4iJeDYeRIt7JVluY8KhtG7Kmbc9Cho91eE91xgBpoQqX7xZxIKdnKo56kwVjlHtIhKcnHqMpg"
)

// storedSecret is a webhook's secret as the database has it.
func storedSecret(t *testing.T, s *Store, id string) (secret string) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), `SELECT secret FROM webhooks WHERE id = $1`, id).Scan(&secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

// ringOf is a ring of local keys, the first of which is to be used.
func ringOf(t *testing.T, secrets ...string) *keyring.Ring {
	t.Helper()
	ring, err := keyring.New(func() (keys []keyring.Key, err error) {
		for _, secret := range secrets {
			key, err := keyring.NewLocal(secret)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		return keys, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func sealedStore(t *testing.T, location string, keys ...string) *Store {
	t.Helper()
	s := openStore(t, location)
	s.SealBy(ringOf(t, keys...))
	return s
}

// TestSealedSecrets: secrets of an earlier version are sealed by a start, and from then on nobody
// without the key has one, also not from a backup.
func TestSealedSecrets(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		plain := openStore(t, location)
		team := makeTeam(t, plain, "alpha").ID
		old, looksSealed := addWebhook(t, plain, team), addWebhook(t, plain, team)
		looksSealed.Secret = "sealed:1:0a0b0c0d:" + strings.Repeat("x", shoal.MaxWebhookSecret-18)
		if err := plain.ChangeWebhook(ctx, looksSealed); err != nil {
			t.Fatal(err)
		}
		s := sealedStore(t, location, "key")
		if got, err := s.WebhookToSend(ctx, old.ID); err != nil || got.Secret != "s" {
			t.Errorf("in the clear: %+v, %v", got, err)
		}
		for range 2 { // the second time there is nothing to do
			if err := s.SealAll(ctx); err != nil {
				t.Fatal(err)
			}
		}
		added := addWebhook(t, s, team)
		for _, w := range []shoal.Webhook{old, looksSealed, added} {
			if got, err := s.WebhookToSend(ctx, w.ID); err != nil || got.Secret != w.Secret {
				t.Errorf("read as %q, %v; want %q", got.Secret, err, w.Secret)
			}
			if secret := storedSecret(t, s, w.ID); !isSealed(secret) || strings.Contains(secret, w.Secret+":") {
				t.Errorf("kept as %q", secret)
			}
		}
		if storedSecret(t, s, old.ID) == storedSecret(t, s, added.ID) || len(storedSecret(t, s, old.ID)) != len(storedSecret(t, s, looksSealed.ID)) {
			t.Error("equal secrets, or their lengths, show")
		}
		var backup bytes.Buffer
		if _, err := WriteBackup(ctx, location, &backup); err != nil {
			t.Fatal(err)
		}
		to := t.TempDir() + "/restored.db"
		if _, err := Restore(ctx, to, &backup); err != nil {
			t.Fatal(err)
		}
		if err := sealedStore(t, to, "another").SealAll(ctx); !shoal.ErrSealed.Matches(err) {
			t.Errorf("restored with another key: %v", err)
		}
		restored := sealedStore(t, to, "key")
		if err := restored.SealAll(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := restored.WebhookToSend(ctx, looksSealed.ID); err != nil || got.Secret != looksSealed.Secret {
			t.Errorf("restored: %+v, %v", got, err)
		}
	})
}

// TestFirstSeals: what was sealed before there were data keys is read, and a start seals it anew.
func TestFirstSeals(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		s := sealedStore(t, location, "key")
		team := makeTeam(t, s, "alpha").ID
		w := addWebhook(t, s, team)
		if _, err := s.db.ExecContext(ctx, `UPDATE webhooks SET id = $1, secret = $2 WHERE id = $3`, firstSealID, firstSeal, w.ID); err != nil {
			t.Fatal(err)
		}
		if err := sealedStore(t, location, "another", "key").SealAll(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := s.WebhookToSend(ctx, firstSealID); err != nil || got.Secret != "from before" {
			t.Errorf("%q, %v", got.Secret, err)
		}
		if keyring.OfFirstVersion(storedSecret(t, s, firstSealID)) {
			t.Error("it is as it was")
		}
	})
}

// TestOtherSeal: a process with another key, or none, neither reads nor seals; and a sealed secret is
// of no use in another record.
func TestOtherSeal(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		s := sealedStore(t, location, "key")
		team := makeTeam(t, s, "alpha").ID
		a, b := addWebhook(t, s, team), addWebhook(t, s, team)
		other, none := sealedStore(t, location, "another"), openStore(t, location)
		for name, err := range map[string]error{
			"read by another key": func() error { _, err := other.WebhookToSend(ctx, a.ID); return err }(),
			"read without a key":  func() error { _, err := none.WebhookToSend(ctx, a.ID); return err }(),
			"started":             other.SealAll(ctx),
			"changed":             other.ChangeWebhook(ctx, a),
			"added": other.AddWebhook(ctx, shoal.Webhook{ID: shoal.NewWebhookID(), TeamID: team, Name: "n",
				URL: "https://a.example/", Events: shoal.EventTypes, Secret: "s", CreatedAt: start}),
			"secret added": other.AddSecret(ctx, newSecret(team, "n"), "v", 10),
			"without keys": none.AddSecret(ctx, newSecret(team, "n"), "v", 10),
		} {
			if !shoal.ErrSealed.Matches(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if list, err := other.Webhooks(ctx, team); err != nil || len(list) != 2 {
			t.Errorf("listed: %v, %v", list, err)
		}
		if _, err := s.db.ExecContext(ctx, `UPDATE webhooks SET secret = $1 WHERE id = $2`, storedSecret(t, s, a.ID), b.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.WebhookToSend(ctx, b.ID); !shoal.ErrSealed.Matches(err) {
			t.Errorf("from another record: %v", err)
		}
		// What is lost can be removed, and the other key is good then.
		for _, id := range []string{a.ID, b.ID} {
			if err := other.RemoveWebhook(ctx, team, id); err != nil {
				t.Fatal(err)
			}
		}
		addWebhook(t, other, team)
		if err := s.AddSecret(ctx, newSecret(team, "n"), "v", 10); !shoal.ErrSealed.Matches(err) {
			t.Errorf("the lost key comes back beside the other: %v", err)
		}
	})
}

// sealHeads are by which keys a database's values are sealed.
func sealHeads(t *testing.T, location string) []string {
	t.Helper()
	state, err := AskSeals(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	return state.Heads
}

// TestReseal: another key takes over while both are known, all that there is stays readable at any
// moment, also when it is cut off after each value, and in the end the former key is of no use.
func TestReseal(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		old := sealedStore(t, location, "old")
		team := makeTeam(t, old, "alpha").ID
		w := addWebhook(t, old, team)
		var ids []string
		for _, name := range []string{"a", "b", "c"} {
			secret := newSecret(team, name)
			if err := old.AddSecret(ctx, secret, "value of "+name, 10); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, secret.ID)
		}
		if err := old.AddIdentityKey(ctx, IdentityKey{ID: "k", Public: "{}", Private: "private", CreatedAt: start, SignsFrom: start}); err != nil {
			t.Fatal(err)
		}
		both := sealedStore(t, location, "new", "old")
		readable := func() {
			t.Helper()
			for _, name := range []string{"a", "b", "c"} {
				if _, value, err := both.SecretValue(ctx, team, name); err != nil || value != "value of "+name {
					t.Errorf("%s: %q, %v", name, value, err)
				}
			}
			if got, err := both.WebhookToSend(ctx, w.ID); err != nil || got.Secret != w.Secret {
				t.Errorf("%q, %v", got.Secret, err)
			}
			if keys, err := both.IdentityKeys(ctx); err != nil || keys[0].Private != "private" {
				t.Errorf("%+v, %v", keys, err)
			}
		}
		// As if killed after each of the values.
		for cut := 1; cut <= 5; cut++ {
			r := &resealer{store: both, id: both.ring.First(), head: keyring.Head(both.ring.First()), progress: func(int) {}}
			if _, err := both.q.SetSealKey(ctx, r.id); err != nil {
				t.Fatal(err)
			}
			for _, list := range []func() ([]sealedRow, error){
				func() ([]sealedRow, error) { return r.webhooks(ctx, "") },
				func() ([]sealedRow, error) { return r.secrets(ctx, "") },
			} {
				rows, err := list()
				if err != nil {
					t.Fatal(err)
				}
				if len(rows) == 0 {
					continue
				}
				resealed, err := both.ring.Rewrap(ctx, r.id, rows[0].about, rows[0].sealed)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := rows[0].replace(ctx, resealed); err != nil {
					t.Fatal(err)
				}
				break
			}
			readable()
		}
		if err := old.AddSecret(ctx, newSecret(team, "late"), "v", 10); !shoal.ErrSealed.Matches(err) {
			t.Errorf("the former key seals still: %v", err)
		}
		done := 0
		if err := both.Reseal(ctx, false, func(n int) { done = n }); err != nil {
			t.Fatal(err)
		}
		readable()
		only := sealedStore(t, location, "new")
		if err := only.SealAll(ctx); err != nil {
			t.Fatal(err)
		}
		if _, value, err := only.SecretValue(ctx, team, ids[0]); err != nil || value != "value of a" {
			t.Errorf("%q, %v", value, err)
		}
		if heads := sealHeads(t, location); len(heads) != 1 || heads[0] != only.ring.First() || done == 0 {
			t.Errorf("sealed by %v; %d were sealed anew", heads, done)
		}
		if err := only.Reseal(ctx, true, func(n int) { done = n }); err != nil || done != 5 {
			t.Errorf("every one: %d, %v", done, err)
		}
		if _, _, err := old.SecretValue(ctx, team, "a"); !shoal.ErrSealed.Matches(err) {
			t.Errorf("the former key reads: %v", err)
		}
	})
}
