package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// vouching is an issuer whose tokens are the subjects themselves.
type vouching struct{}

func (vouching) Verify(_ context.Context, token string) (shoal.Identity, error) {
	if token == "expired" {
		return shoal.Identity{}, errors.New("it has expired")
	}
	return shoal.Identity{Issuer: shoal.DevIssuer, Subject: token}, nil
}

const (
	otherTeam  = "11111111-1111-4111-8111-111111111111"
	bannedTeam = "22222222-2222-4222-8222-222222222222"
	noTeam     = "33333333-3333-4333-8333-333333333333"
)

func openPeople(t *testing.T, cfg Config) (*store.Store, *Authenticator) {
	t.Helper()
	st, _, _ := open(t)
	cfg.AdminToken = adminToken
	ctx := t.Context()
	for _, err := range []error{
		st.CreateTeam(ctx, shoal.Team{ID: otherTeam, Slug: "other"}),
		st.CreateTeam(ctx, shoal.Team{ID: bannedTeam, Slug: "banned"}),
		st.SetStanding(ctx, shoal.Team{ID: bannedTeam, Banned: true}),
		st.AddMember(ctx, bannedTeam, shoal.DevUserID, shoal.RoleOwner),
		st.CreateUser(ctx, shoal.User{ID: "lone", Email: "lone@example.com"}),
		st.AddIdentity(ctx, "lone", shoal.Identity{Issuer: shoal.DevIssuer, Subject: "lone"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return st, New(st, cfg, slog.New(slog.DiscardHandler))
}

// TestPeopleVerdicts: the rejections of users' credentials (api.md §2.2, §2.3).
func TestPeopleVerdicts(t *testing.T) {
	st, a := openPeople(t, Config{Issuers: vouching{}})
	lone, _, err := NewPeople(st).CreateToken(t.Context(), "lone", "cli")
	if err != nil {
		t.Fatal(err)
	}
	const jwt, jwtTeam = "Invalid auth provider token.\n", "Invalid auth provider token teamID.\n"
	const token = "Invalid Access token, try to login again by running `e2b auth login`.\n"
	dev, user := "Bearer "+shoal.DevAccessToken, "Bearer "+shoal.DevSubject
	templates := []Way{ByKey, ByMember, ByAdminForTeam, ByAccessToken}
	teams := []Way{ByAccessToken, ByUser, ByKey}
	cases := map[string]struct {
		r      Request
		status int    // 0 is success
		want   string // the team, or the message
	}{
		"access token":          {Request{headers("Authorization", dev), templates, false, "", false}, 0, shoal.DevTeamID},
		"access token, alone":   {Request{headers("Authorization", dev), teams, true, "", false}, 0, ""},
		"its team":              {Request{headers("Authorization", dev), templates, false, shoal.DevTeamID, false}, 0, shoal.DevTeamID},
		"foreign team":          {Request{headers("Authorization", dev), templates, false, otherTeam, false}, 403, "You are not allowed to access this team"},
		"no such team":          {Request{headers("Authorization", dev), templates, false, "x", false}, 403, "You are not allowed to access this team"},
		"banned team":           {Request{headers("Authorization", dev), templates, false, bannedTeam, false}, 403, "team is banned"},
		"no default team":       {Request{headers("Authorization", "Bearer "+lone), templates, false, "", false}, 500, "Default team not found"},
		"unknown access token":  {Request{headers("Authorization", "Bearer sk_e2b_00"), templates, false, "", false}, 401, token + "Cannot get the user for the given access token"},
		"access token, no hex":  {Request{headers("Authorization", "Bearer sk_e2b_x"), templates, false, "", false}, 401, token + "Invalid access token format"},
		"neither, for teams":    {Request{headers(), teams, true, "", false}, 401, token + "authorization header is missing"},
		"token, not taken":      {Request{headers("Authorization", dev), forTeam, false, "", false}, 401, jwt + "Backend authentication failed"},
		"user, alone":           {Request{headers("Authorization", user), teams, true, "", false}, 0, ""},
		"user, malformed":       {Request{headers("Authorization", shoal.DevSubject), []Way{ByUser}, true, "", false}, 401, jwt + "authorization header is malformed"},
		"user, missing":         {Request{headers(), []Way{ByUser}, true, "", false}, 401, jwt + "authorization header is missing"},
		"unknown user":          {Request{headers("Authorization", "Bearer nobody"), teams, true, "", false}, 401, jwt + "Backend authentication failed"},
		"expired":               {Request{headers("Authorization", "Bearer expired"), teams, true, "", false}, 401, jwt + "Backend authentication failed"},
		"expired beside a key":  {Request{headers("Authorization", "Bearer expired", "X-API-Key", shoal.DevAPIKey), teams, true, "", false}, 0, shoal.DevTeamID},
		"member":                {Request{headers("Authorization", user, "X-Team-ID", shoal.DevTeamID), forTeam, false, "", false}, 0, shoal.DevTeamID},
		"no team named":         {Request{headers("Authorization", user), forTeam, false, "", false}, 401, jwtTeam + "authorization header is missing"},
		"not a member":          {Request{headers("Authorization", user, "X-Team-ID", otherTeam), forTeam, false, "", false}, 401, jwtTeam + "Backend authentication failed"},
		"no team of the ID":     {Request{headers("Authorization", user, "X-Team-ID", noTeam), forTeam, false, "", false}, 401, jwtTeam + "Backend authentication failed"},
		"not a team's ID":       {Request{headers("Authorization", user, "X-Team-ID", "x"), forTeam, false, "", false}, 401, jwtTeam + "Backend authentication failed"},
		"member of a banned":    {Request{headers("Authorization", user, "X-Team-ID", bannedTeam), forTeam, false, "", false}, 403, "team is banned"},
		"banned wins":           {Request{headers("X-API-Key", "e2b_00", "Authorization", user, "X-Team-ID", bannedTeam), forTeam, false, "", false}, 403, "team is banned"},
		"a valid one of two":    {Request{headers("X-API-Key", "e2b_00", "X-Admin-Token", adminToken, "X-Team-ID", otherTeam), forTeam, false, "", false}, 0, otherTeam},
		"admin, where not so":   {Request{headers("X-Admin-Token", adminToken, "X-Team-ID", otherTeam), []Way{ByMember}, false, "", false}, 401, jwt + "authorization header is missing"},
		"key, where not so":     {Request{headers("X-API-Key", shoal.DevAPIKey), []Way{ByMember, ByAdminForTeam}, false, "", false}, 401, jwt + "authorization header is missing"},
		"of two, the sent one":  {Request{headers("X-Admin-Token", "x"), []Way{ByMember, ByAdminForTeam}, false, "", false}, 401, "Invalid Access token.\nInvalid Access token."},
		"team ID with a key":    {Request{headers("X-API-Key", shoal.DevAPIKey, "X-Team-ID", otherTeam), forTeam, false, "", false}, 0, shoal.DevTeamID},
		"banned team by admins": {Request{headers("X-Admin-Token", adminToken, "X-Team-ID", bannedTeam), forTeam, false, "", false}, 403, "team is banned"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			caller, err := a.Authenticate(t.Context(), c.r)
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

func TestNobodyVouches(t *testing.T) {
	_, a := openPeople(t, Config{NoAccessTokens: true})
	for header, want := range map[string]string{
		"Bearer " + shoal.DevSubject:     "Invalid auth provider token.\nBackend authentication failed",
		"Bearer " + shoal.DevAccessToken: "E2B_ACCESS_TOKEN is deprecated and no longer accepted. Use an API key (E2B_API_KEY) instead. See https://e2b.dev/docs/migration/access-token-deprecation",
	} {
		_, err := a.Authenticate(t.Context(), Request{Header: headers("Authorization", header), Ways: []Way{ByAccessToken, ByUser}})
		if e := shoal.AsError(err); err == nil || e.Status != 401 || e.Message != want {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// TestRights: what roles, scopes and operators may (and may not).
func TestRights(t *testing.T) {
	st, a := openPeople(t, Config{Issuers: vouching{}})
	keys := NewKeys(st)
	scoped, _, err := keys.Create(t.Context(), shoal.APIKey{TeamID: shoal.DevTeamID, Name: "s", Scopes: shoal.ReadSandboxes | shoal.WriteSandboxes})
	if err != nil {
		t.Fatal(err)
	}
	user := headers("Authorization", "Bearer "+shoal.DevSubject, "X-Team-ID", shoal.DevTeamID)
	check := func(name string, h http.Header, may, mayNot shoal.Rights, kind *shoal.Kind) {
		t.Helper()
		a.Forget()
		caller, err := team(t.Context(), a, h)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := caller.Permit(may); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for right := shoal.Rights(1); right <= shoal.Operate; right <<= 1 {
			if err := caller.Permit(right); mayNot.Has(right) && !kind.Matches(err) {
				t.Errorf("%s may %s: %v", name, right, err)
			}
		}
	}
	check("key", headers("X-API-Key", shoal.DevAPIKey), shoal.KeyRights, shoal.ReadKeys|shoal.WriteKeys|shoal.ActAsUser|shoal.Operate, shoal.ErrScope)
	check("scoped key", headers("X-API-Key", scoped), shoal.ReadSandboxes|shoal.WriteSandboxes, shoal.ReadTemplates|shoal.WriteTemplates|shoal.ReadTeam, shoal.ErrScope)
	check("owner", user, shoal.KeyRights|shoal.WriteKeys, shoal.ActAsUser|shoal.Operate, shoal.ErrRole)
	for role, c := range map[shoal.Role][2]shoal.Rights{
		shoal.RoleAdmin:     {shoal.KeyRights | shoal.ReadKeys | shoal.WriteKeys, shoal.Operate},
		shoal.RoleDeveloper: {shoal.WriteSandboxes | shoal.WriteTemplates | shoal.ReadTeam, shoal.WriteTeam | shoal.ReadKeys | shoal.WriteKeys},
		shoal.RoleViewer:    {shoal.ReadSandboxes | shoal.ReadTemplates | shoal.ReadTeam, shoal.WriteSandboxes | shoal.WriteTemplates | shoal.WriteTeam | shoal.ReadKeys},
		"unheard-of":        {0, shoal.ReadSandboxes | shoal.ReadTeam},
	} {
		if err := st.SetRole(t.Context(), shoal.DevTeamID, shoal.DevUserID, role); err != nil {
			t.Fatal(err)
		}
		check(string(role), user, c[0], c[1], shoal.ErrRole)
	}
	check("operator", headers("X-Admin-Token", adminToken, "X-Team-ID", otherTeam), shoal.KeyRights|shoal.WriteKeys|shoal.Operate, shoal.ActAsUser, shoal.ErrRole)
}

func TestExpiredKey(t *testing.T) {
	st, a := openPeople(t, Config{})
	now := time.Now()
	a.now = func() time.Time { return now }
	plaintext, _, err := NewKeys(st).Create(t.Context(), shoal.APIKey{TeamID: shoal.DevTeamID, Name: "short", ExpiresAt: now.Add(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	h := headers("X-API-Key", plaintext)
	if _, err := team(t.Context(), a, h); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second) // it is cached still
	if _, err := team(t.Context(), a, h); !shoal.ErrKeyExpired.Matches(err) {
		t.Errorf("an expired key: %v", err)
	}
	_, _, err = NewKeys(st).Create(t.Context(), shoal.APIKey{TeamID: shoal.DevTeamID, Name: "late", ExpiresAt: time.Now().Add(-time.Second)})
	if !shoal.ErrBadRequest.Matches(err) {
		t.Errorf("a key of the past: %v", err)
	}
}

// TestLogIn: the key may what the role may, and no more.
func TestLogIn(t *testing.T) {
	st, a := openPeople(t, Config{})
	for role, scopes := range map[shoal.Role]shoal.Rights{shoal.RoleOwner: shoal.KeyRights, shoal.RoleAdmin: shoal.KeyRights,
		shoal.RoleDeveloper: shoal.KeyRights &^ shoal.WriteTeam,
		shoal.RoleViewer:    shoal.ReadSandboxes | shoal.ReadTemplates | shoal.ReadTeam | shoal.ReadSecrets} {
		key, err := NewPeople(st).LogIn(t.Context(), shoal.DevUserID, shoal.Membership{Team: shoal.Team{ID: shoal.DevTeamID}, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		caller, err := team(t.Context(), a, headers("X-API-Key", key))
		if err != nil || caller.rights != scopes {
			t.Errorf("%s: %s, want %s, %v", role, caller.rights, scopes, err)
		}
	}
	if _, err := NewPeople(st).LogIn(t.Context(), shoal.DevUserID, shoal.Membership{Team: shoal.Team{ID: shoal.DevTeamID}}); !shoal.ErrRole.Matches(err) {
		t.Errorf("without a role: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	st, _ := openPeople(t, Config{})
	people := NewPeople(st)
	u, err := people.Create(t.Context(), " Ann@Example.COM ")
	if err != nil || u.Email != "ann@example.com" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range []string{"", "ann", "@x", "ann@", "a b@c", "a@b@c", strings.Repeat("x", 250) + "@y.zz"} {
		if _, err := people.Create(t.Context(), bad); !shoal.ErrBadRequest.Matches(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestCacheKeepsNothingOld: what was read before a clearing does not come into the cache after it.
func TestCacheKeepsNothingOld(t *testing.T) {
	c := newCache[int](time.Now)
	loading, cleared := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	slow.Go(func() {
		_, _ = c.get("k", func() (int, error) {
			close(loading)
			<-cleared
			return 1, nil
		})
	})
	<-loading
	c.clear()
	close(cleared)
	slow.Wait()
	if got, _ := c.get("k", func() (int, error) { return 2, nil }); got != 2 {
		t.Errorf("got %d of before the clearing", got)
	}
	if got, _ := c.get("k", func() (int, error) { return 3, nil }); got != 2 {
		t.Errorf("got %d; the cache was not used", got)
	}
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Now()
	c := newCache[int](func() time.Time { return now })
	for i := range maxCached + 5 {
		_, _ = c.get(strconv.Itoa(i), func() (int, error) { return i, nil })
	}
	if len(c.entries) > maxCached {
		t.Errorf("%d entries", len(c.entries))
	}
}

// BenchmarkAuthenticate measures what a call by a known key costs; it has to stay far below 0.3 ms.
func BenchmarkAuthenticate(b *testing.B) {
	st, err := store.Open(b.Context(), b.TempDir()+"/shoal.db")
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	if err := NewKeys(st).EnsureDev(b.Context()); err != nil {
		b.Fatal(err)
	}
	a := New(st, Config{Issuers: vouching{}}, slog.New(slog.DiscardHandler))
	for name, h := range map[string]http.Header{
		"key":    headers("X-API-Key", shoal.DevAPIKey),
		"member": headers("Authorization", "Bearer "+shoal.DevSubject, "X-Team-ID", shoal.DevTeamID),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := a.Authenticate(b.Context(), Request{Header: h, Ways: forTeam}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
