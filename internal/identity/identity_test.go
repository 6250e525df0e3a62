package identity

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"shoal/internal/keyring"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// open returns a store that is sealed by a secret.
func open(t *testing.T, path, secret string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	key, err := keyring.NewLocal(secret)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(func() ([]keyring.Key, error) { return []keyring.Key{key}, nil })
	if err != nil {
		t.Fatal(err)
	}
	s.SealBy(ring)
	return s
}

// at returns an issuer whose clock the test sets.
func at(s Store, now *time.Time) *Issuer {
	i := New(s, "https://api.example", "example")
	i.now = func() time.Time { return *now }
	return i
}

func ids(t *testing.T, i *Issuer) (list []string) {
	t.Helper()
	keys, err := i.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		list = append(list, k.KeyID)
	}
	return list
}

func signedBy(t *testing.T, i *Issuer) string {
	t.Helper()
	text, err := i.Sign(context.Background(), shoal.Spec{SandboxID: "i", TeamID: "t", TemplateID: "base"}, "aud")
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return token.Headers[0].KeyID
}

// TestRotation: a key is published for a day before it signs and for a day after its successor does, so
// who keeps what was published for a day can check every token.
func TestRotation(t *testing.T) {
	s := open(t, t.TempDir()+"/shoal.db", "key")
	now := time.Now()
	i, other := at(s, &now), at(s, &now) // another api of the same installation
	first := signedBy(t, i)
	if got := signedBy(t, other); got != first {
		t.Errorf("two apis sign by %s and %s", first, got)
	}
	var kept []string // what a verifier has read up to a day ago
	read := now
	seen := map[string]bool{}
	for range 8 * 100 { // each of three hours
		if now.Sub(read) >= aheadTime {
			kept, read = ids(t, other), now
		}
		if kept == nil {
			kept = ids(t, other)
		}
		by := signedBy(t, i)
		seen[by] = true
		if !slices.Contains(kept, by) {
			t.Fatalf("after %s, %s signs and was not published a day ago", now.Sub(read), by)
		}
		if n := len(ids(t, i)); n > 3 {
			t.Fatalf("%d keys are published", n)
		}
		now = now.Add(3 * time.Hour)
	}
	if len(seen) < 3 || len(seen) > 5 {
		t.Errorf("%d keys have signed in 100 days", len(seen))
	}
}

// TestRotateByHand: the new key signs a day later.
func TestRotateByHand(t *testing.T) {
	s := open(t, t.TempDir()+"/shoal.db", "key")
	now := time.Now()
	i := at(s, &now)
	first := signedBy(t, i)
	if err := i.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * readTime)
	if got := ids(t, i); len(got) != 2 || signedBy(t, i) != first {
		t.Errorf("%v, signed by %s", got, signedBy(t, i))
	}
	now = now.Add(aheadTime)
	if signedBy(t, i) == first {
		t.Error("the first one signs still")
	}
}

// TestLostKey: where the key that sealed is lost, another one signs, and the former is published still.
func TestLostKey(t *testing.T) {
	path := t.TempDir() + "/shoal.db"
	now := time.Now()
	first := signedBy(t, at(open(t, path, "key"), &now))
	i := at(open(t, path, "another"), &now)
	if by := signedBy(t, i); by == first {
		t.Error("a lost key signs")
	}
	if got := ids(t, i); !slices.Contains(got, first) || len(got) != 2 {
		t.Errorf("published: %v", got)
	}
}
