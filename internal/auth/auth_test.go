package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

const adminToken = "the-admin-token"

func open(t *testing.T) (*store.Store, *Keys, *Authenticator) {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	keys := NewKeys(st)
	if err := keys.EnsureDev(t.Context()); err != nil {
		t.Fatal(err)
	}
	return st, keys, New(st, Config{AdminToken: adminToken}, slog.New(slog.DiscardHandler))
}

// forTeam are the ways of most routes.
var forTeam = []Way{ByKey, ByMember, ByAdminForTeam}

// team authenticates as most routes do.
func team(ctx context.Context, a *Authenticator, h http.Header) (Caller, error) {
	return a.Authenticate(ctx, Request{Header: h, Ways: forTeam})
}

func admin(a *Authenticator, h http.Header) error {
	_, err := a.Authenticate(context.Background(), Request{Header: h, Ways: []Way{ByAdmin}})
	return err
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// TestHashKey pins the format at rest with values computed by
// printf … | xxd -r -p | openssl dgst -sha256 -binary | base64.
func TestHashKey(t *testing.T) {
	cases := []struct {
		key, want string
		err       error
	}{
		{"e2b_53ae1fed82754c17ad8077fbc8bcdd90", "$sha256$RLrLQtatBzJCfetucGulV+lw+EZ/YXV1/3LBxlsAXYk", nil},
		{"e2b_00", "$sha256$bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0", nil},
		{"sk_e2b_00", "", ErrKeyPrefix},
		{"", "", ErrKeyPrefix},
		{"e2b_", "", ErrKeyFormat},
		{"e2b_0", "", ErrKeyFormat},
		{"e2b_xyz0", "", ErrKeyFormat},
	}
	for _, c := range cases {
		got, err := HashKey(c.key)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("HashKey(%q) = %q, %v; want %q, %v", c.key, got, err, c.want, c.err)
		}
	}
}

func TestKeyLifecycle(t *testing.T) {
	_, keys, a := open(t)
	ctx := t.Context()
	plaintext, key, err := keys.Create(ctx, shoal.APIKey{TeamID: shoal.DevTeamID, Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^e2b_[0-9a-f]{40}$`).MatchString(plaintext) {
		t.Errorf("key %q", plaintext)
	}
	if key.Mask != (shoal.Mask{Prefix: plaintext[4:6], Suffix: plaintext[40:], Length: 40}) || strings.Contains(key.Hash, plaintext[4:]) {
		t.Errorf("masks of %s: %+v", plaintext, key)
	}
	if list, err := keys.List(ctx, shoal.DevTeamID); err != nil || len(list) != 2 || list[1] != key {
		t.Errorf("list %+v, %v", list, err)
	}
	caller, err := team(ctx, a, headers("x-api-key", plaintext))
	if err != nil || caller.Team.ID != shoal.DevTeamID || caller.Key != plaintext {
		t.Errorf("caller %+v, %v", caller, err)
	}
	if err := keys.Delete(ctx, "another-team", key.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another team's key: %v", err)
	}
	if err := keys.Delete(ctx, shoal.DevTeamID, key.ID); err != nil {
		t.Fatal(err)
	}
	// The cache may know the key for a while, but no longer than CacheTTL.
	a.now = func() time.Time { return time.Now().Add(CacheTTL) }
	if _, err := team(ctx, a, headers("x-api-key", plaintext)); !shoal.ErrUnauthorized.Matches(err) {
		t.Errorf("a removed key: %v", err)
	}
	for _, name := range []string{"", "  ", strings.Repeat("x", 129)} {
		if _, _, err := keys.Create(ctx, shoal.APIKey{TeamID: shoal.DevTeamID, Name: name}); !shoal.ErrBadRequest.Matches(err) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestTeamVerdicts(t *testing.T) {
	st, _, a := open(t)
	banned := shoal.Team{ID: "11111111-1111-4111-8111-111111111111", Slug: "banned"}
	key, _ := newKey(shoal.APIKey{TeamID: banned.ID, Name: "k"}, "e2b_aa")
	if err := st.CreateTeamWithKey(t.Context(), banned, key); err != nil {
		t.Fatal(err)
	}
	banned.Banned = true
	if err := st.SetStanding(t.Context(), banned); err != nil {
		t.Fatal(err)
	}
	const line = "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\n"
	const jwt = "Invalid auth provider token.\n"
	cases := map[string]struct {
		h      http.Header
		status int // 0 is success
		want   string
	}{
		"valid":                    {headers("X-API-KEY", shoal.DevAPIKey), 0, shoal.DevTeamID},
		"upper-case digits":        {headers("X-API-KEY", "e2b_"+strings.ToUpper(shoal.DevAPIKey[4:])), 0, shoal.DevTeamID},
		"valid beside garbage":     {headers("X-API-KEY", shoal.DevAPIKey, "Authorization", "Bearer nonsense", "X-Admin-Token", "no"), 0, shoal.DevTeamID},
		"admin for a team":         {headers("X-Admin-Token", adminToken, "X-Team-ID", shoal.DevTeamID), 0, shoal.DevTeamID},
		"nothing":                  {headers(), 401, line + "authorization header is missing"},
		"wrong prefix":             {headers("X-API-Key", "sk_1234"), 401, line + "authorization header is malformed"},
		"not hexadecimal":          {headers("X-API-Key", "e2b_nothex"), 401, line + "Invalid API key format"},
		"unknown":                  {headers("X-API-Key", "e2b_0123456789abcdef"), 401, line + "Cannot get the team for the given API key"},
		"unknown beside a bearer":  {headers("X-API-Key", "e2b_00", "Authorization", "Bearer x"), 401, line + "Cannot get the team for the given API key"},
		"bearer":                   {headers("Authorization", "Bearer eyJ.x.y"), 401, jwt + "Backend authentication failed"},
		"basic":                    {headers("Authorization", "Basic eDp5"), 401, jwt + "authorization header is malformed"},
		"access token":             {headers("Authorization", "Bearer sk_e2b_00"), 401, jwt + "Backend authentication failed"},
		"banned":                   {headers("X-API-Key", "e2b_aa"), 403, "team is banned"},
		"wrong admin":              {headers("X-Admin-Token", "x", "X-Team-ID", shoal.DevTeamID), 401, "Invalid Access token.\nInvalid Access token."},
		"admin, no team":           {headers("X-Admin-Token", adminToken), 400, "Invalid admin token teamID.\nInvalid team ID"},
		"admin for an unknown one": {headers("X-Admin-Token", adminToken, "X-Team-ID", "22222222-2222-4222-8222-222222222222"), 404, "Invalid admin token teamID.\nTeam not found"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			caller, err := team(t.Context(), a, c.h)
			if c.status == 0 {
				if err != nil || caller.Team.ID != c.want {
					t.Fatalf("caller %+v, %v", caller, err)
				}
				return
			}
			if e := shoal.AsError(err); err == nil || e.Status != c.status || e.Message != c.want {
				t.Errorf("got %v, want %d %q", err, c.status, c.want)
			}
		})
	}
}

func TestAdmin(t *testing.T) {
	st, _, a := open(t)
	if err := admin(a, headers("X-Admin-Token", adminToken)); err != nil {
		t.Error(err)
	}
	for _, token := range []string{"", "the-admin-toke", adminToken + "x"} {
		if err := admin(a, headers("X-Admin-Token", token)); !shoal.ErrUnauthorized.Matches(err) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	closed := New(st, Config{}, slog.New(slog.DiscardHandler))
	if err := admin(closed, headers("X-Admin-Token", "")); !shoal.ErrUnauthorized.Matches(err) {
		t.Errorf("no token is configured, yet: %v", err)
	}
}

func TestBlockTakesEffectAfterTheCache(t *testing.T) {
	st, _, a := open(t)
	now := time.Now()
	a.now = func() time.Time { return now }
	current := func() shoal.Team {
		caller, err := team(t.Context(), a, headers("X-API-Key", shoal.DevAPIKey))
		if err != nil {
			t.Fatal(err)
		}
		return caller.Team
	}
	changed := current()
	changed.Blocked, changed.BlockedReason = true, "unpaid"
	if err := st.SetStanding(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if current().Blocked {
		t.Error("the cache was not used")
	}
	a.Forget()
	if !current().Blocked {
		t.Error("Forget did not drop the cache")
	}
	changed.Blocked = false
	if err := st.SetStanding(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	now = now.Add(CacheTTL)
	if current().Blocked {
		t.Error("the cache outlived CacheTTL")
	}
}

func TestLastUse(t *testing.T) {
	_, keys, a := open(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	a.now = func() time.Time { return now }
	use := func() {
		if _, err := team(t.Context(), a, headers("X-API-Key", shoal.DevAPIKey)); err != nil {
			t.Fatal(err)
		}
	}
	lastUsed := func() time.Time {
		list, err := keys.List(t.Context(), shoal.DevTeamID)
		if err != nil {
			t.Fatal(err)
		}
		return list[0].LastUsed
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	use()
	first := now
	deadline := time.Now().Add(10 * time.Second)
	for !lastUsed().Equal(first) {
		if time.Now().After(deadline) {
			t.Fatal("the use was not stored")
		}
		time.Sleep(5 * time.Millisecond)
	}
	now = now.Add(usePeriod / 2)
	use() // within a minute: not worth a write
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !lastUsed().Equal(first) {
		t.Errorf("stored %v, want %v", lastUsed(), first)
	}
	now = now.Add(usePeriod)
	use()
	if err := a.Run(ctx); err != nil { // an ended run stores what is left
		t.Fatal(err)
	}
	if !lastUsed().Equal(now) {
		t.Errorf("stored %v, want %v", lastUsed(), now)
	}
}

func TestEnsureFirst(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	keys, a := NewKeys(st), New(st, Config{}, slog.New(slog.DiscardHandler))
	plaintext, err := keys.EnsureFirst(t.Context())
	if err != nil || plaintext == "" {
		t.Fatalf("key %q, %v", plaintext, err)
	}
	caller, err := team(t.Context(), a, headers("X-API-Key", plaintext))
	if err != nil || caller.Team.Slug != DefaultTeamSlug {
		t.Errorf("caller %+v, %v", caller, err)
	}
	if again, err := keys.EnsureFirst(t.Context()); err != nil || again != "" {
		t.Errorf("second start: %q, %v", again, err)
	}
}

// TestTokens pins the derivation with values of
// printf %s "$message" | openssl dgst -sha256 -hmac seed.
func TestTokens(t *testing.T) {
	tokens := NewTokens("seed")
	if got, want := tokens.Envd("iabc"), "93177cdf2a0b174da49cc7f94199bbdfbbbd0aa2573cd6a15cec8e669f58ae0b"; got != want {
		t.Errorf("envd token %s, want %s", got, want)
	}
	if got, want := tokens.Traffic("iabc"), "ebd7c80002d6f4864a21810a2762694d82c2624df0310fcf914e4974a0856a4f"; got != want {
		t.Errorf("traffic token %s, want %s", got, want)
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"x", "x", true}, {"x", "y", false}, {"x", "xx", false}, {"", "", false}} {
		if got := Equal(c.a, c.b); got != c.want {
			t.Errorf("Equal(%q, %q) = %v", c.a, c.b, got)
		}
	}
}
