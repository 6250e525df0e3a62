package auth

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// LinkTime is how long a link sets a password.
const LinkTime = 24 * time.Hour

// SignIn begins a session for who knows the password of an account, and returns its secret. By its
// errors and its time, nobody can tell whether there is such an account.
func (a *Authenticator) SignIn(
	ctx context.Context, email, password string, source netip.Addr,
) (secret string, u shoal.User, err error) {
	email = cleanEmail(email)
	if wait := a.tries.BeginTry(ctx, countsOf(email, source)); wait > 0 {
		return "", u, shoal.ErrSignInTries.New("There were too many wrong passwords. Try again in %s",
			max(wait, time.Second).Round(time.Second))
	}
	u, stored, err := a.store.Password(ctx, email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", u, shoal.ErrInternal.Wrap(err, "Error while finding the account")
	}
	if len(password) > maxPassword {
		password = password[:maxPassword] // nobody has one that long; it takes its time all the same
		stored = ""
	}
	right, err := a.hashing.matches(ctx, stored, password)
	if err != nil {
		return "", u, err
	}
	if !right {
		return "", shoal.User{}, shoal.ErrSignIn.New("The address or the password is not right")
	}
	a.tries.RightTry(ctx, countsOf(email, source))
	if a.hashing.outdated(stored) {
		if stored, err = a.hashing.hash(ctx, password); err == nil {
			err = a.store.SetPassword(ctx, u.ID, stored, a.now())
		}
		if err != nil {
			a.log.Warn("a password could not be hashed anew", "user", u.ID, "error", err)
		}
	}
	secret, err = a.begin(ctx, u.ID)
	return secret, u, err
}

// Invite returns a secret by which a user sets a password, once within LinkTime. With the ID "" it
// makes the first person, an owner of the first team. An earlier one ends.
func (p *People) Invite(ctx context.Context, userID string) (secret string, err error) {
	secret = randomHex(secretBytes)
	return secret, p.store.AddPasswordLink(ctx, hashText(secret), userID, time.Now().Add(LinkTime))
}

// Invited returns whose password a link's secret sets; the zero user if it makes the first person.
func (a *Authenticator) Invited(ctx context.Context, secret string) (shoal.User, error) {
	u, err := a.store.PasswordLink(ctx, hashText(secret), a.now())
	return u, noLink(err)
}

// Accept sets a password by a link's secret, and begins a session. The address is that of the first
// person, if the link makes it.
func (a *Authenticator) Accept(
	ctx context.Context, link, email, password string,
) (secret string, u shoal.User, err error) {
	if u, err = a.Invited(ctx, link); err != nil {
		return "", u, err
	}
	first := shoal.User{}
	if u.ID == "" {
		if first, err = newPerson(email); err != nil {
			return "", u, err
		}
		u = first
	}
	if err := checkPassword(password, u.Email); err != nil {
		return "", u, err
	}
	hash, err := a.hashing.hash(ctx, password)
	if err != nil {
		return "", u, err
	}
	_, err = a.store.UsePasswordLink(ctx, hashText(link), first, hash, a.now())
	if errors.Is(err, store.ErrExists) {
		return "", u, shoal.ErrBadRequest.New("There is a user of this address already. `shoal user invite` makes a link for them")
	}
	if err != nil {
		return "", u, noLink(err)
	}
	a.forget(ctx, a.sessions) // the former ones have ended
	secret, err = a.begin(ctx, u.ID)
	return secret, u, err
}

// ChangePassword gives who is signed in another password, which ends all of their sessions, and
// begins a new one.
func (a *Authenticator) ChangePassword(
	ctx context.Context, s Session, was, wanted string, source netip.Addr,
) (secret string, err error) {
	if err := checkPassword(wanted, s.User.Email); err != nil {
		return "", err
	}
	if wait := a.tries.BeginTry(ctx, countsOf(s.User.Email, source)); wait > 0 {
		return "", shoal.ErrSignInTries.New("There were too many wrong passwords. Try again in %s",
			max(wait, time.Second).Round(time.Second))
	}
	_, stored, err := a.store.Password(ctx, s.User.Email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", shoal.ErrInternal.Wrap(err, "Error while finding the account")
	}
	right, err := a.hashing.matches(ctx, stored, was)
	if err != nil {
		return "", err
	}
	if !right {
		return "", shoal.ErrSignIn.New("The present password is not right")
	}
	a.tries.RightTry(ctx, countsOf(s.User.Email, source))
	hash, err := a.hashing.hash(ctx, wanted)
	if err == nil {
		err = a.store.ChangePassword(ctx, s.User.ID, hash, a.now())
	}
	if err != nil {
		return "", err
	}
	a.forget(ctx, a.sessions)
	return a.begin(ctx, s.User.ID)
}

func noLink(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return shoal.ErrSignInLink.New("The link has been used or has ended")
	}
	return err
}
