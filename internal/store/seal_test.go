package store

import (
	"bytes"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// storedSecret is a webhook's secret as the database has it.
func storedSecret(t *testing.T, s *Store, id string) (secret string) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), `SELECT secret FROM webhooks WHERE id = $1`, id).Scan(&secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

func sealedStore(t *testing.T, location, key string) *Store {
	t.Helper()
	s := openStore(t, location)
	if err := s.SealBy(key); err != nil {
		t.Fatal(err)
	}
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
		looksSealed.Secret = sealMark + "0a0b0c0d:" + strings.Repeat("x", shoal.MaxWebhookSecret-len(sealMark)-9)
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
	})
}
