package auth

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

const password = "correct horse battery"

var here = netip.MustParseAddr("192.0.2.1")

// openAccounts has people whose passwords cost little.
func openAccounts(t *testing.T) (*store.Store, *Authenticator, func(time.Duration)) {
	t.Helper()
	st, a := openPeople(t, Config{})
	a.hashing = makeHashing(1, 64, 2)
	now := time.Now()
	a.now = func() time.Time { return now }
	return st, a, func(d time.Duration) { now = now.Add(d) }
}

// account gives a new user a password by a link, and returns them with the secret of a session.
func account(t *testing.T, st *store.Store, a *Authenticator, email string) (shoal.User, string) {
	t.Helper()
	u, err := NewPeople(st).Create(t.Context(), email)
	if err != nil {
		t.Fatal(err)
	}
	link, err := NewPeople(st).Invite(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	secret, got, err := a.Accept(t.Context(), link, "", password)
	if err != nil || got.ID != u.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	return u, secret
}

func cookie(secret string) http.Header { return headers("Cookie", shoal.SessionCookie+"="+secret) }

// TestHashes: the form is that of the reference implementation, and hashes by other parameters are
// still good.
func TestHashes(t *testing.T) {
	h := makeHashing(1, 64, 1)
	stored, err := h.hash(t.Context(), password)
	if err != nil || !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("%s, %v", stored, err)
	}
	again, _ := h.hash(t.Context(), password)
	if again == stored {
		t.Error("two hashes are the same: there is no salt")
	}
	other := makeHashing(2, 128, 1)
	for c, want := range map[[2]string]bool{{stored, password}: true, {again, password}: true, {stored, password + "x"}: false,
		{stored, ""}: false, {"", password}: false, {"", ""}: false} {
		for _, by := range []hashing{h, other} {
			if got, err := by.matches(t.Context(), c[0], c[1]); got != want || err != nil {
				t.Errorf("%q: %v, %v", c, got, err)
			}
		}
	}
	if h.outdated(stored) || !other.outdated(stored) {
		t.Error("the parameters are not told apart")
	}
	for _, wrong := range []string{"x", "$argon2i$v=19$m=64,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=99999999,t=1,p=1$" + stored[len("$argon2id$v=19$m=64,t=1,p=1$"):],
		"$argon2id$v=19$m=64,t=1,p=1$AAAA$" + strings.Repeat("A", 43)} {
		if ok, err := h.matches(t.Context(), wrong, password); ok || err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
	<-h.free // somebody else's turn
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := h.hash(ctx, password); !shoal.ErrSignInBusy.Matches(err) {
		t.Errorf("one too many: %v", err)
	}
}

func TestPasswords(t *testing.T) {
	for password, good := range map[string]bool{"correct horse": true, "short": false, strings.Repeat("x", 20): false,
		"Ann@Example.com": false, strings.Repeat("ab", 129): false, "": false, "annannannannannann": true} {
		if err := checkPassword(password, "ann@example.com"); (err == nil) != good || err != nil && !shoal.ErrPassword.Matches(err) {
			t.Errorf("%q: %v", password, err)
		}
	}
}

// TestSignIn: the password and nothing else lets in, and there is no telling which accounts there
// are.
func TestSignIn(t *testing.T) {
	st, a, _ := openAccounts(t)
	u, _ := account(t, st, a, "ann@example.com")
	secret, got, err := a.SignIn(t.Context(), " Ann@example.com ", password, here)
	if err != nil || got != u {
		t.Fatalf("%+v, %v", got, err)
	}
	s, err := a.SessionOf(t.Context(), cookie(secret), false)
	if err != nil || s.User != u {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, c := range [][2]string{{"ann@example.com", "wrong password"}, {"lone@example.com", password}, {"nobody@example.com", password},
		{"ann@example.com", password + strings.Repeat("x", 300)}, {"", ""}} {
		_, got, err := a.SignIn(t.Context(), c[0], c[1], here)
		if !shoal.ErrSignIn.Matches(err) || shoal.AsError(err).Message != "The address or the password is not right" || got.ID != "" {
			t.Errorf("%q: %+v, %v", c, got, err)
		}
	}
	// Other parameters than the stored ones replace them.
	a.hashing = makeHashing(2, 64, 1)
	if _, _, err := a.SignIn(t.Context(), u.Email, password, here); err != nil {
		t.Fatal(err)
	}
	if _, stored, err := st.Password(t.Context(), u.Email); err != nil || a.hashing.outdated(stored) {
		t.Errorf("%s, %v", stored, err)
	}
}

// TestTries: wrong passwords make the next ones wait, longer and longer, whether the account exists
// or not, and nobody else.
func TestTries(t *testing.T) {
	st, a, pass := openAccounts(t)
	account(t, st, a, "ann@example.com")
	account(t, st, a, "bob@example.com")
	try := func(email, password string, source netip.Addr) error {
		_, _, err := a.SignIn(t.Context(), email, password, source)
		return err
	}
	for _, email := range []string{"ann@example.com", "nobody@example.com"} {
		source := netip.MustParseAddr(map[bool]string{true: "192.0.2.7", false: "192.0.2.8"}[email[0] == 'a'])
		for i := range triesOfBoth {
			if err := try(email, "wrong", source); !shoal.ErrSignIn.Matches(err) {
				t.Fatalf("%s, try %d: %v", email, i, err)
			}
		}
		if err := try(email, password, source); !shoal.ErrSignInTries.Matches(err) {
			t.Errorf("%s, one more: %v", email, err)
		}
		pass(time.Second)
		if err := try(email, "wrong", source); !shoal.ErrSignIn.Matches(err) {
			t.Errorf("%s, after a second: %v", email, err)
		}
		pass(time.Second)
		if err := try(email, "wrong", source); !shoal.ErrSignInTries.Matches(err) {
			t.Errorf("%s, the wait is not longer: %v", email, err)
		}
	}
	if err := try("bob@example.com", password, netip.MustParseAddr("192.0.2.7")); err != nil {
		t.Errorf("another account: %v", err)
	}
	if err := try("ann@example.com", password, here); err != nil {
		t.Errorf("another source: %v", err)
	}
	pass(15 * time.Minute)
	if err := try("ann@example.com", password, netip.MustParseAddr("192.0.2.7")); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	// One network that tries many accounts is one source.
	refused := 0
	for i := range 3 * triesOfSource {
		source := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
		if err := try("x"+strings.Repeat("y", i)+"@example.com", "wrong", source); shoal.ErrSignInTries.Matches(err) {
			refused++
		}
	}
	if refused != 2*triesOfSource {
		t.Errorf("%d of one network were refused", refused)
	}
}

// TestLinks: a link sets one password, once, for a day; the first person's makes an owner.
func TestLinks(t *testing.T) {
	st, a, pass := openAccounts(t)
	people := NewPeople(st)
	link, err := people.Invite(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if u, err := a.Invited(t.Context(), link); err != nil || u.ID != "" {
		t.Errorf("%+v, %v", u, err)
	}
	for email, wrong := range map[string]string{"no address": password, "first@example.com": "short"} {
		if _, _, err := a.Accept(t.Context(), link, email, wrong); err == nil {
			t.Errorf("%s, %s was taken", email, wrong)
		}
	}
	if _, _, err := a.Accept(t.Context(), link, "lone@example.com", password); !shoal.ErrBadRequest.Matches(err) {
		t.Errorf("somebody else's address: %v", err)
	}
	_, u, err := a.Accept(t.Context(), link, "First@example.com", password)
	if err != nil || u.Email != "first@example.com" {
		t.Fatalf("%+v, %v", u, err)
	}
	if list, err := st.Memberships(t.Context(), u.ID); err != nil || len(list) != 1 || list[0].Role != shoal.RoleOwner || !list[0].Default {
		t.Errorf("%+v, %v", list, err)
	}
	if _, _, err := a.Accept(t.Context(), link, "second@example.com", password); !shoal.ErrSignInLink.Matches(err) {
		t.Errorf("a used link: %v", err)
	}
	earlier, _ := people.Invite(t.Context(), u.ID)
	later, _ := people.Invite(t.Context(), u.ID)
	if _, _, err := a.Accept(t.Context(), earlier, "", password); !shoal.ErrSignInLink.Matches(err) {
		t.Errorf("a link that another has replaced: %v", err)
	}
	pass(LinkTime + time.Minute)
	if _, _, err := a.Accept(t.Context(), later, "", password); !shoal.ErrSignInLink.Matches(err) {
		t.Errorf("a link that has ended: %v", err)
	}
}

// TestSessions: a session ends by its time, without use, by signing out and by another password.
func TestSessions(t *testing.T) {
	st, a, pass := openAccounts(t)
	u, first := account(t, st, a, "ann@example.com")
	lives := func(secret string) bool {
		t.Helper()
		_, err := a.SessionOf(t.Context(), cookie(secret), false)
		if err != nil && !errors.Is(err, ErrNoSession) {
			t.Fatal(err)
		}
		return err == nil
	}
	begin := func() string {
		t.Helper()
		secret, _, err := a.SignIn(t.Context(), u.Email, password, here)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	if !lives(first) || lives(first[1:]+"0") || lives("") || lives("x") {
		t.Error("a session is not what it should be")
	}
	if _, err := a.SessionOf(t.Context(), cookie(first), true); !errors.Is(err, ErrNoSession) {
		t.Errorf("over TLS a cookie without __Host- is taken: %v", err)
	}
	if c := Cookie(first, true); !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("%+v", c)
	}
	used, idle := begin(), begin()
	for range 2 * int(SessionTime/SessionIdle) {
		pass(SessionIdle/2 + time.Minute)
		if !lives(used) {
			break
		}
	}
	if lives(used) || lives(idle) {
		t.Error("a session goes on for ever")
	}
	used = begin()
	pass(SessionIdle - time.Minute)
	if !lives(used) {
		t.Error("a session ended early")
	}
	pass(SessionIdle - time.Minute)
	if !lives(used) {
		t.Error("a session that is used ended")
	}
	s, _ := a.SessionOf(t.Context(), cookie(used), false)
	if err := a.SignOut(t.Context(), s); err != nil || lives(used) {
		t.Errorf("signed out, and in: %v", err)
	}
	one, two := begin(), begin()
	s, _ = a.SessionOf(t.Context(), cookie(one), false)
	if _, err := a.ChangePassword(t.Context(), s, "wrong", "another password", here); !shoal.ErrSignIn.Matches(err) || !lives(one) {
		t.Error(err)
	}
	three, err := a.ChangePassword(t.Context(), s, password, "another password", here)
	if err != nil || lives(one) || lives(two) || !lives(three) {
		t.Errorf("after another password: %v", err)
	}
	if _, _, err := a.SignIn(t.Context(), u.Email, password, here); !shoal.ErrSignIn.Matches(err) {
		t.Errorf("the former password: %v", err)
	}
}

// TestSessionCalls: a session is its user for the API, but only for pages of the API's own origin.
func TestSessionCalls(t *testing.T) {
	st, a, _ := openAccounts(t)
	u, secret := account(t, st, a, "ann@example.com")
	if err := st.AddMember(t.Context(), otherTeam, u.ID, shoal.RoleViewer); err != nil {
		t.Fatal(err)
	}
	s, err := a.SessionOf(t.Context(), cookie(secret), false)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		headers []string
		good    bool
	}{
		"the token":       {[]string{HeaderCSRF, s.CSRF()}, true},
		"the same origin": {[]string{"Sec-Fetch-Site", "same-origin"}, true},
		"the same site":   {[]string{"Sec-Fetch-Site", "same-site"}, false}, // a sandbox's page
		"nothing":         {nil, false},
		"a wrong token":   {[]string{HeaderCSRF, secret}, false},
	} {
		h := headers(append([]string{"Cookie", shoal.SessionCookie + "=" + secret, HeaderTeamID, otherTeam}, c.headers...)...)
		caller, err := team(t.Context(), a, h)
		if (err == nil) != c.good || c.good && (caller.User != u || caller.Team.ID != otherTeam || caller.role != shoal.RoleViewer ||
			caller.Actor != PersonActor(u)) {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
}
