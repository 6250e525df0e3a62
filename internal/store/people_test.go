package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func makeUser(t *testing.T, s *Store, name string) shoal.User {
	t.Helper()
	u := shoal.User{ID: "id-" + name, Email: name + "@example.com", CreatedAt: start}
	if err := s.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	return u
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUsers(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		u := makeUser(t, s, "ann")
		refused(t, s.CreateUser(ctx, shoal.User{ID: "other", Email: u.Email}), ErrExists)
		if got, err := s.UserByEmail(ctx, u.Email); err != nil || got != u {
			t.Errorf("%+v, %v", got, err)
		}
		_, err := s.UserByEmail(ctx, "nobody@example.com")
		refused(t, err, ErrNotFound)
		if list, err := s.Users(ctx); err != nil || len(list) != 1 || list[0] != u {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

func TestIdentities(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		ann, bob := makeUser(t, s, "ann"), makeUser(t, s, "bob")
		id := shoal.Identity{Issuer: "https://a.example", Subject: "1"}
		ok(t, s.AddIdentity(ctx, ann.ID, id))
		refused(t, s.AddIdentity(ctx, bob.ID, id), ErrExists)
		refused(t, s.AddIdentity(ctx, ann.ID, shoal.Identity{Issuer: id.Issuer, Subject: "2"}), ErrExists)
		ok(t, s.AddIdentity(ctx, bob.ID, shoal.Identity{Issuer: "https://b.example", Subject: "1"}))
		if got, err := s.UserByIdentity(ctx, id); err != nil || got != ann {
			t.Errorf("%+v, %v", got, err)
		}
		_, err := s.UserByIdentity(ctx, shoal.Identity{Issuer: "https://b.example", Subject: "2"})
		refused(t, err, ErrNotFound)
		ok(t, s.DeleteIdentity(ctx, ann.ID, id.Issuer))
		_, err = s.UserByIdentity(ctx, id)
		refused(t, err, ErrNotFound)
		if list, err := s.Identities(ctx, bob.ID); err != nil || len(list) != 1 || list[0].Issuer != "https://b.example" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

func TestMemberships(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		first, second, third := makeTeam(t, s, "first"), makeTeam(t, s, "second"), makeTeam(t, s, "third")
		u := makeUser(t, s, "ann")
		for _, team := range []shoal.Team{first, second, third} {
			ok(t, s.AddMember(ctx, team.ID, u.ID, shoal.RoleViewer))
		}
		refused(t, s.AddMember(ctx, first.ID, u.ID, shoal.RoleOwner), ErrExists)
		refused(t, s.AddMember(ctx, first.ID, "nobody", shoal.RoleOwner), ErrNotFound)
		if err := s.AddMember(ctx, "nothing", u.ID, shoal.RoleOwner); err == nil {
			t.Error("a member of a team that does not exist was stored")
		}
		defaults := func() (list []string) {
			t.Helper()
			all, err := s.Memberships(ctx, u.ID)
			ok(t, err)
			for _, m := range all {
				if m.Default {
					list = append(list, m.Team.Slug)
				}
			}
			if m, err := s.Membership(ctx, "", u.ID); err != nil || !slices.Contains(list, m.Team.Slug) {
				t.Errorf("default team %+v, %v", m, err)
			}
			return list
		}
		if got := defaults(); !slices.Equal(got, []string{"first"}) {
			t.Errorf("default teams %v", got)
		}
		ok(t, s.SetDefaultTeam(ctx, third.ID, u.ID))
		refused(t, s.SetDefaultTeam(ctx, "nothing", u.ID), ErrNotFound) // and nothing is lost by it
		if got := defaults(); !slices.Equal(got, []string{"third"}) {
			t.Errorf("default teams %v", got)
		}
		ok(t, s.RemoveMember(ctx, third.ID, u.ID))
		if got := defaults(); !slices.Equal(got, []string{"first"}) {
			t.Errorf("default teams %v", got)
		}
		ok(t, s.SetRole(ctx, second.ID, u.ID, shoal.RoleAdmin))
		if m, err := s.Membership(ctx, second.ID, u.ID); err != nil || m.Role != shoal.RoleAdmin || m.Team != second {
			t.Errorf("%+v, %v", m, err)
		}
		_, err := s.Membership(ctx, third.ID, u.ID)
		refused(t, err, ErrNotFound)
		refused(t, s.RemoveMember(ctx, third.ID, u.ID), ErrNotFound)
		refused(t, s.SetRole(ctx, third.ID, u.ID, shoal.RoleAdmin), ErrNotFound)
		if list, err := s.Members(ctx, second.ID); err != nil || len(list) != 1 || list[0].User != u {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestOneDefaultTeam: however many choose at once, a user has one default team.
func TestOneDefaultTeam(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		u := makeUser(t, s, "ann")
		teams := make([]shoal.Team, 8)
		var adding sync.WaitGroup
		for i := range teams {
			teams[i] = makeTeam(t, s, fmt.Sprint("t", i))
			adding.Go(func() {
				if err := s.AddMember(ctx, teams[i].ID, u.ID, shoal.RoleViewer); err != nil {
					t.Error(err)
				}
			})
		}
		adding.Wait()
		all, err := s.Memberships(ctx, u.ID)
		ok(t, err)
		n := 0
		for _, m := range all {
			if m.Default {
				n++
			}
		}
		if n != 1 || len(all) != len(teams) {
			t.Errorf("%d default teams of %d", n, len(all))
		}
	})
}

// login stores a login key of a user.
func login(t *testing.T, s *Store, team shoal.Team, u shoal.User, id string, at time.Time) {
	t.Helper()
	ok(t, s.CreateKey(t.Context(), shoal.APIKey{ID: id, TeamID: team.ID, Hash: id, CreatedBy: u.ID, Login: true, CreatedAt: at}))
}

func keyIDs(t *testing.T, s *Store, team shoal.Team) (ids []string) {
	t.Helper()
	keys, err := s.Keys(t.Context(), team.ID)
	ok(t, err)
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}

func sameIDs(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// TestLoginKeys: they are bounded by their last use, and go with what they stand for.
func TestLoginKeys(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		team, other := makeTeam(t, s, "alpha"), makeTeam(t, s, "beta")
		ann, bob := makeUser(t, s, "ann"), makeUser(t, s, "bob")
		for _, m := range []shoal.Team{team, other} {
			ok(t, s.AddMember(ctx, m.ID, ann.ID, shoal.RoleAdmin))
			ok(t, s.AddMember(ctx, m.ID, bob.ID, shoal.RoleAdmin))
		}
		ok(t, s.CreateKey(ctx, shoal.APIKey{ID: "made", TeamID: team.ID, Hash: "made", CreatedBy: ann.ID, CreatedAt: start}))
		login(t, s, team, bob, "bobs", start)
		login(t, s, other, ann, "elsewhere", start)
		var want []string
		for i := range MaxLoginKeys + 2 {
			id := fmt.Sprintf("login%02d", i)
			login(t, s, team, ann, id, start.Add(time.Duration(i)*time.Second))
			want = append(want, id)
			if i == 0 { // the oldest one is in use
				ok(t, s.TouchKey(ctx, id, start.Add(time.Hour)))
			}
		}
		want = append(slices.Delete(want, 1, 3), "made", "bobs")
		if got := keyIDs(t, s, team); !sameIDs(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		ok(t, s.SetRole(ctx, team.ID, ann.ID, shoal.RoleViewer))
		if got := keyIDs(t, s, team); !sameIDs(got, []string{"made", "bobs"}) {
			t.Errorf("after another role: %v", got)
		}
		ok(t, s.RemoveMember(ctx, other.ID, ann.ID))
		if got := keyIDs(t, s, other); len(got) != 0 {
			t.Errorf("after the membership: %v", got)
		}
		ok(t, s.DeleteUser(ctx, bob.ID))
		if got := keyIDs(t, s, team); !slices.Equal(got, []string{"made"}) {
			t.Errorf("after the user: %v", got)
		}
		if list, err := s.Members(ctx, team.ID); err != nil || len(list) != 1 {
			t.Errorf("members %+v, %v", list, err)
		}
		refused(t, s.DeleteUser(ctx, bob.ID), ErrNotFound)
	})
}

func TestKeysAreBounded(t *testing.T) {
	s, ctx := openStore(t, t.TempDir()+"/shoal.db"), t.Context()
	team := makeTeam(t, s, "alpha")
	key := func(i int) shoal.APIKey {
		return shoal.APIKey{ID: fmt.Sprint("k", i), TeamID: team.ID, Hash: fmt.Sprint("h", i), CreatedAt: start}
	}
	// One by one they take a disk's time each; only the last ones are of interest.
	for i := range MaxKeys {
		ok(t, insertKey(ctx, s.q, key(i)))
	}
	refused(t, s.CreateKey(ctx, key(MaxKeys)), ErrFull)
	refused(t, s.CreateKey(ctx, key(1)), ErrExists) // as a start of --dev does
	ok(t, s.DeleteKey(ctx, team.ID, "k0"))
	ok(t, s.CreateKey(ctx, key(MaxKeys)))
}

func TestAccessTokens(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		ann, bob := makeUser(t, s, "ann"), makeUser(t, s, "bob")
		token := shoal.AccessToken{ID: "t1", UserID: ann.ID, Name: "cli", Hash: "x",
			Mask: shoal.Mask{Prefix: "ab", Suffix: "cdef", Length: 40}, CreatedAt: start}
		ok(t, s.CreateAccessToken(ctx, token))
		refused(t, s.CreateAccessToken(ctx, shoal.AccessToken{ID: "t2", UserID: bob.ID, Hash: "x"}), ErrExists)
		refused(t, s.CreateAccessToken(ctx, shoal.AccessToken{ID: "t3", UserID: "nobody", Hash: "y"}), ErrNotFound)
		if u, stored, err := s.AccessTokenOwner(ctx, "x"); err != nil || u != ann || stored.Hash != "x" {
			t.Errorf("%+v, %+v, %v", u, stored, err)
		}
		if list, err := s.AccessTokens(ctx, ann.ID); err != nil || len(list) != 1 || list[0] != token {
			t.Errorf("%+v, %v", list, err)
		}
		refused(t, s.DeleteAccessToken(ctx, bob.ID, "t1"), ErrNotFound)
		ok(t, s.DeleteAccessToken(ctx, ann.ID, "t1"))
		_, _, err := s.AccessTokenOwner(ctx, "x")
		refused(t, err, ErrNotFound)
		for i := range MaxAccessTokens {
			ok(t, s.CreateAccessToken(ctx, shoal.AccessToken{ID: fmt.Sprint("n", i), UserID: ann.ID, Hash: fmt.Sprint("n", i)}))
		}
		refused(t, s.CreateAccessToken(ctx, shoal.AccessToken{ID: "more", UserID: ann.ID, Hash: "more"}), ErrFull)
	})
}
