package store

import (
	"fmt"
	"testing"

	"shoal/internal/shoal"
)

func TestServiceAccounts(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		for _, id := range []string{"a", "b"} {
			ok(t, s.CreateTeam(ctx, shoal.Team{ID: id, Slug: id}))
		}
		account := func(n int, team string) shoal.User {
			return shoal.User{ID: fmt.Sprintf("%s%03d", team, n), Email: fmt.Sprintf("s%d@%s", n, team), CreatedAt: start, ServiceTeam: team}
		}
		one := account(1, "a")
		ok(t, s.CreateServiceAccount(ctx, one, shoal.RoleViewer))
		refused(t, s.CreateServiceAccount(ctx, one, shoal.RoleViewer), ErrExists)
		refused(t, s.CreateServiceAccount(ctx, shoal.User{ID: "x", Email: "x", ServiceTeam: "nothing"}, shoal.RoleViewer), ErrNotFound)
		ok(t, s.CreateServiceAccount(ctx, account(1, "b"), shoal.RoleViewer))
		makeUser(t, s, "ann")
		if list, err := s.ServiceAccounts(ctx, "a"); err != nil || len(list) != 1 || list[0].User != one || list[0].Role != shoal.RoleViewer {
			t.Errorf("%+v, %v", list, err)
		}
		for id, hash := range map[string]string{"a001": "1", "": "2"} {
			ok(t, s.CreateKey(ctx, shoal.APIKey{ID: "key" + hash, TeamID: "a", Hash: hash, Owner: id, CreatedBy: "a001"}))
		}
		if _, key, err := s.KeyOwner(ctx, "1"); err != nil || key.Owner != "a001" {
			t.Errorf("%+v, %v", key, err)
		}
		ok(t, s.RemoveMember(ctx, "a", one.ID))
		if m, err := s.ServiceAccount(ctx, "a", one.ID); err != nil || m.Role != "" || m.User != one {
			t.Errorf("%+v, %v", m, err)
		}
		_, err := s.ServiceAccount(ctx, "b", one.ID)
		refused(t, err, ErrNotFound)
		refused(t, s.DeleteServiceAccount(ctx, "b", one.ID), ErrNotFound)
		refused(t, s.DeleteServiceAccount(ctx, "a", "id-ann"), ErrNotFound) // a person
		ok(t, s.DeleteServiceAccount(ctx, "a", one.ID))
		if keys, err := s.Keys(ctx, "a"); err != nil || len(keys) != 1 || keys[0].ID != "key2" {
			t.Errorf("%+v, %v", keys, err)
		}
		for n := range MaxServiceAccounts {
			ok(t, s.CreateServiceAccount(ctx, account(n, "a"), shoal.RoleDeveloper))
		}
		refused(t, s.CreateServiceAccount(ctx, account(500, "a"), shoal.RoleDeveloper), ErrFull)
	})
}
