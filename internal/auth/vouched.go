package auth

import (
	"context"
	"errors"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// Vouched is what an issuer says of somebody who signs in there.
type Vouched struct {
	Identity shoal.Identity
	Email    string // "" unless the issuer has verified it
	// Roles are what they are in teams, by slug, as the issuer's groups say; "" is nothing. Teams
	// that are not here are none of the issuer's matters.
	Roles map[string]shoal.Role
}

// SignInVouched begins a session for whom an issuer vouches for, and gives them the roles that
// follow from their groups. Who has a role by that and is no user yet becomes one.
func (a *Authenticator) SignInVouched(ctx context.Context, v Vouched) (secret string, u shoal.User, err error) {
	u, err = a.store.UserByIdentity(ctx, v.Identity)
	if errors.Is(err, store.ErrNotFound) {
		u, err = a.admit(ctx, v)
	}
	if err != nil {
		return "", u, err
	}
	for slug, role := range v.Roles {
		if err := a.follow(ctx, u, slug, role); err != nil {
			return "", u, err
		}
	}
	a.forget(ctx, a.people, a.members)
	secret, err = a.begin(ctx, u.ID)
	return secret, u, err
}

// admit makes a user of somebody who has a role. An address that somebody has already proves
// nothing: another issuer may have other ideas of who that is.
func (a *Authenticator) admit(ctx context.Context, v Vouched) (shoal.User, error) {
	refuse := func(why string) (shoal.User, error) {
		return shoal.User{}, shoal.ErrSignInStranger.New(
			"%s. The operator lets you in by: shoal user link ADDRESS %s %s", why, v.Identity.Issuer, v.Identity.Subject)
	}
	has := false
	for _, role := range v.Roles {
		has = has || role != ""
	}
	switch {
	case !has:
		return refuse("You are no user of this installation, and none of your groups makes you one")
	case v.Email == "":
		return refuse("The issuer does not say that your address is yours")
	}
	u, err := newPerson(v.Email)
	if err != nil {
		return u, err
	}
	err = a.store.CreateVouchedUser(ctx, u, v.Identity)
	if errors.Is(err, store.ErrExists) {
		if u, err := a.store.UserByIdentity(ctx, v.Identity); err == nil {
			return u, nil // they sign in twice at once
		}
		return refuse("There is a user of your address already")
	}
	return u, err
}

// follow gives a user the role in a team that their groups say.
func (a *Authenticator) follow(ctx context.Context, u shoal.User, slug string, role shoal.Role) error {
	team, err := a.store.TeamBySlug(ctx, slug)
	if errors.Is(err, store.ErrNotFound) {
		a.log.Warn("a team of sign-in-groups does not exist", "team", slug)
		return nil
	}
	if err != nil {
		return err
	}
	have, err := a.store.Membership(ctx, team.ID, u.ID)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case err != nil && role == "", err == nil && have.Role == role:
		return nil
	case err != nil:
		err = a.store.AddMember(ctx, team.ID, u.ID, role)
	case role == "":
		err = a.store.RemoveMember(ctx, team.ID, u.ID)
	default:
		err = a.store.SetRole(ctx, team.ID, u.ID, role)
	}
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound) {
		return nil // they sign in twice at once
	}
	if err == nil {
		a.log.Info("groups of an issuer changed a role", "user", u.ID, "team", team.ID, "role", string(role))
	}
	return err
}
