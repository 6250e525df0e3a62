package store

import (
	"fmt"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func TestPasswordsAndSessions(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		ann, bob := makeUser(t, s, "ann"), makeUser(t, s, "bob")
		hasWayIn := func(want bool, issuers ...string) {
			t.Helper()
			if got, err := s.HasWayIn(ctx, issuers); err != nil || got != want {
				t.Errorf("%v, %v", got, err)
			}
		}
		hasWayIn(false, "https://login.example")
		ok(t, s.AddIdentity(ctx, ann.ID, shoal.Identity{Issuer: "https://login.example", Subject: "1"}))
		hasWayIn(false, "https://other.example")
		hasWayIn(true, "https://login.example")
		_, _, err := s.Password(ctx, ann.Email)
		refused(t, err, ErrNotFound)
		ok(t, s.SetPassword(ctx, ann.ID, "one", start))
		hasWayIn(true)
		session := func(hash string) error {
			_, err := s.Session(ctx, hash)
			return err
		}
		for n := range MaxSessions + 2 {
			ok(t, s.AddSession(ctx, fmt.Sprint("a", n), ann.ID, start.Add(time.Duration(n)*time.Minute)))
		}
		ok(t, s.AddSession(ctx, "b", bob.ID, start))
		refused(t, s.AddSession(ctx, "c", "nobody", start), ErrNotFound)
		refused(t, session("a1"), ErrNotFound) // the oldest ones went
		ok(t, s.TouchSession(ctx, "a2", start.Add(time.Hour)))
		ok(t, s.TouchSession(ctx, "a2", start))
		if got, err := s.Session(ctx, "a2"); err != nil || got != (Session{ann, start.Add(2 * time.Minute), start.Add(time.Hour)}) {
			t.Errorf("%+v, %v", got, err)
		}
		ok(t, s.SetPassword(ctx, ann.ID, "two", start))
		ok(t, session("a2"))
		ok(t, s.DeleteSession(ctx, "a2"))
		ok(t, s.DeleteSession(ctx, "a2"))
		refused(t, session("a2"), ErrNotFound)
		ok(t, s.DropSignIns(ctx, start.Add(4*time.Minute), start.Add(5*time.Minute), start))
		refused(t, session("a3"), ErrNotFound) // begun too early
		refused(t, session("a4"), ErrNotFound) // not used
		refused(t, session("b"), ErrNotFound)
		ok(t, session("a5"))
		ok(t, s.ChangePassword(ctx, ann.ID, "three", start))
		refused(t, session("a5"), ErrNotFound)
		if u, hash, err := s.Password(ctx, ann.Email); err != nil || u != ann || hash != "three" {
			t.Errorf("%+v %s, %v", u, hash, err)
		}
		ok(t, s.AddSession(ctx, "z", ann.ID, start))
		ok(t, s.DeleteUser(ctx, ann.ID))
		refused(t, session("z"), ErrNotFound)
		hasWayIn(false)
	})
}

func TestPasswordLinks(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		ann := makeUser(t, s, "ann")
		first := shoal.User{ID: "first", Email: "first@example.com", CreatedAt: start}
		use := func(link string, u shoal.User, now time.Time) error {
			_, err := s.UsePasswordLink(ctx, link, u, "hash of "+link, now)
			return err
		}
		ok(t, s.AddPasswordLink(ctx, "f", "", start.Add(time.Hour)))
		refused(t, use("f", first, start), ErrNotFound) // there is no team
		ok(t, s.CreateTeam(ctx, shoal.Team{ID: "a", Slug: "a"}))
		refused(t, use("f", shoal.User{ID: "x", Email: ann.Email}, start), ErrExists)
		refused(t, use("f", first, start.Add(time.Hour)), ErrNotFound)
		if u, err := s.PasswordLink(ctx, "f", start); err != nil || u != (shoal.User{}) {
			t.Errorf("%+v, %v", u, err)
		}
		ok(t, use("f", first, start)) // what failed has not used it up
		refused(t, use("f", first, start), ErrNotFound)
		if m, err := s.Membership(ctx, "", "first"); err != nil || m.Role != shoal.RoleOwner || m.Team.ID != "a" {
			t.Errorf("%+v, %v", m, err)
		}
		ok(t, s.AddPasswordLink(ctx, "old", ann.ID, start.Add(time.Hour)))
		ok(t, s.AddPasswordLink(ctx, "new", ann.ID, start.Add(time.Hour)))
		refused(t, use("old", first, start), ErrNotFound)
		if u, err := s.PasswordLink(ctx, "new", start); err != nil || u.ID != ann.ID || u.Email != ann.Email {
			t.Errorf("%+v, %v", u, err)
		}
		ok(t, s.AddSession(ctx, "s", ann.ID, start))
		if id, err := s.UsePasswordLink(ctx, "new", first, "hash", start); err != nil || id != ann.ID {
			t.Errorf("%s, %v", id, err)
		}
		_, err := s.Session(ctx, "s")
		refused(t, err, ErrNotFound)
		ok(t, s.AddPasswordLink(ctx, "gone", ann.ID, start.Add(time.Hour)))
		ok(t, s.DeleteUser(ctx, ann.ID))
		refused(t, use("gone", first, start), ErrNotFound)
		ok(t, s.AddPasswordLink(ctx, "late", "first", start))
		ok(t, s.DropSignIns(ctx, start, start, start.Add(time.Second)))
		_, err = s.PasswordLink(ctx, "late", start.Add(-time.Hour))
		refused(t, err, ErrNotFound)
	})
}
