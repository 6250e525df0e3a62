package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

type ownedKey struct {
	team shoal.Team
	key  shoal.APIKey
}

func (a *Authenticator) byKey(ctx context.Context, plaintext string) (Caller, error) {
	if plaintext == "" {
		return Caller{}, rejected(keyRejected, headerMissing)
	}
	hash, err := HashKey(plaintext)
	switch {
	case errors.Is(err, ErrKeyPrefix):
		return Caller{}, rejected(keyRejected, headerMalformed)
	case err != nil:
		return Caller{}, rejected(keyRejected, "Invalid API key format")
	}
	owned, err := a.keys.get(hash, func() (ownedKey, error) {
		team, key, err := a.store.KeyOwner(ctx, hash)
		return ownedKey{team, key}, err
	})
	if errors.Is(err, store.ErrNotFound) || (err == nil && !Equal(owned.key.Hash, hash)) {
		return Caller{}, rejected(keyRejected, "Cannot get the team for the given API key")
	}
	if err != nil {
		return Caller{}, shoal.ErrInternal.Wrap(err, "Error while checking the API key")
	}
	caller := Caller{Team: owned.team, Actor: shoal.Actor{Kind: shoal.ActorKey, ID: owned.key.ID,
		UserID: owned.key.CreatedBy, Name: owned.key.Name}}
	if owned.key.Expired(a.now()) {
		return caller, shoal.ErrKeyExpired.New("%s\nThe API key has expired", keyRejected)
	}
	if owned.key.Owner != "" {
		return a.byServiceKey(ctx, caller, owned, plaintext)
	}
	a.uses.note(owned.key.ID, a.now())
	caller.Key, caller.rights = plaintext, owned.key.Rights()
	return caller, nil
}

// byServiceKey lets a service account in by its key, which may what both its scopes and the
// account's role allow.
func (a *Authenticator) byServiceKey(
	ctx context.Context, caller Caller, owned ownedKey, plaintext string,
) (Caller, error) {
	caller.User = shoal.User{ID: owned.key.Owner, ServiceTeam: owned.team.ID}
	caller.Actor = shoal.Actor{Kind: shoal.ActorService, ID: owned.key.Owner, UserID: owned.key.Owner,
		Name: owned.key.Name}
	err := a.join(ctx, &caller, owned.team.ID)
	if errors.Is(err, store.ErrNotFound) {
		return caller, rejected(keyRejected, "The service account of the API key is no member of the team")
	}
	if err != nil {
		return caller, err
	}
	a.uses.note(owned.key.ID, a.now())
	caller.Key, caller.rights = plaintext, owned.key.Rights()&caller.rights
	return caller, nil
}

func (a *Authenticator) byAdmin(h http.Header) (Caller, error) {
	if !Equal(h.Get(HeaderAdminToken), a.cfg.AdminToken) {
		return Caller{}, rejected(adminRejected, "Invalid Access token.")
	}
	return Caller{Operator: true, Actor: shoal.Actor{Kind: shoal.ActorOperator},
		rights: shoal.Operate | shoal.ReadTeam}, nil
}

// byAdminForTeam lets an operator act for the team of X-Team-ID.
func (a *Authenticator) byAdminForTeam(ctx context.Context, h http.Header) (Caller, error) {
	caller, err := a.byAdmin(h)
	if err != nil {
		return caller, err
	}
	id, err := uuid.Parse(h.Get(HeaderTeamID))
	if err != nil {
		return Caller{}, shoal.ErrBadRequest.New("%s\nInvalid team ID", adminTeamRejected)
	}
	team, err := a.store.Team(ctx, id.String())
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, shoal.ErrTeamNotFound.New("%s\nTeam not found", adminTeamRejected)
	}
	if err != nil {
		return Caller{}, shoal.ErrInternal.Wrap(err, "Error while finding the team")
	}
	caller.Team, caller.rights = team, caller.rights|shoal.RoleOwner.Rights()
	return caller, nil
}

// aloneRights are those of a user who acts for no team; what they read of teams is their own ones.
const aloneRights = shoal.ActAsUser | shoal.ReadTeam

// byUser finds the user of an issuer's token, or of a session.
func (a *Authenticator) byUser(ctx context.Context, r Request) (Caller, error) {
	header := r.Header.Get(HeaderBearer)
	if header == "" {
		caller, err := a.bySession(ctx, r)
		if !errors.Is(err, ErrNoSession) {
			return caller, err
		}
		return Caller{}, rejected(jwtRejected, headerMissing)
	}
	token, ok := strings.CutPrefix(header, bearerPrefix)
	if !ok {
		return Caller{}, rejected(jwtRejected, headerMalformed)
	}
	refuse := func(because string) (Caller, error) {
		return Caller{}, rejected(jwtRejected, "Backend authentication failed").Because("%s", because)
	}
	if a.cfg.Issuers == nil {
		return refuse("The installation trusts no issuer of tokens")
	}
	identity, err := a.cfg.Issuers.Verify(ctx, token)
	if err != nil {
		return refuse(err.Error())
	}
	user, err := a.people.get(identity.Issuer+"\n"+identity.Subject, func() (shoal.User, error) {
		return a.store.UserByIdentity(ctx, identity)
	})
	if errors.Is(err, store.ErrNotFound) {
		return refuse("No user of the installation has the token's identity")
	}
	if err != nil {
		return Caller{}, shoal.ErrInternal.Wrap(err, "Error while finding the user")
	}
	return Caller{User: user, Actor: PersonActor(user), rights: aloneRights}, nil
}

// byMember is byUser for the team of X-Team-ID.
func (a *Authenticator) byMember(ctx context.Context, r Request) (Caller, error) {
	caller, err := a.byUser(ctx, r)
	if err != nil {
		return caller, err
	}
	h := r.Header
	if h.Get(HeaderTeamID) == "" {
		return Caller{}, rejected(jwtTeamRejected, headerMissing)
	}
	failed := rejected(jwtTeamRejected, "Backend authentication failed")
	id, err := uuid.Parse(h.Get(HeaderTeamID))
	if err != nil {
		return Caller{}, failed.Because("X-Team-ID is not a team's ID")
	}
	err = a.join(ctx, &caller, id.String())
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, failed.Because("The user is not a member of the team")
	}
	return caller, err
}

const (
	bearerPrefix = "Bearer "
	// UserTokenPrefix starts every access token of a user; lower-case hex digits follow.
	UserTokenPrefix = "sk_e2b_"

	tokensRefused = "E2B_ACCESS_TOKEN is deprecated and no longer accepted. Use an API key (E2B_API_KEY) instead. " +
		"See https://e2b.dev/docs/migration/access-token-deprecation"
)

func isAccessToken(header string) bool {
	return strings.HasPrefix(header, bearerPrefix+UserTokenPrefix)
}

type ownedToken struct {
	user  shoal.User
	token shoal.AccessToken
}

func (a *Authenticator) byAccessToken(ctx context.Context, r Request) (Caller, error) {
	header := r.Header.Get(HeaderBearer)
	switch {
	case header == "":
		return Caller{}, rejected(tokenRejected, headerMissing)
	case !isAccessToken(header):
		return Caller{}, rejected(tokenRejected, headerMalformed)
	case a.cfg.NoAccessTokens:
		return Caller{}, shoal.ErrUnauthorized.New(tokensRefused)
	}
	hash, err := hashSecret(UserTokenPrefix, strings.TrimPrefix(header, bearerPrefix))
	if err != nil {
		return Caller{}, rejected(tokenRejected, "Invalid access token format")
	}
	owned, err := a.tokens.get(hash, func() (ownedToken, error) {
		user, token, err := a.store.AccessTokenOwner(ctx, hash)
		return ownedToken{user, token}, err
	})
	if errors.Is(err, store.ErrNotFound) || (err == nil && !Equal(owned.token.Hash, hash)) {
		return Caller{}, rejected(tokenRejected, "Cannot get the user for the given access token")
	}
	if err != nil {
		return Caller{}, shoal.ErrInternal.Wrap(err, "Error while checking the access token")
	}
	caller := Caller{User: owned.user, rights: aloneRights, Actor: shoal.Actor{Kind: shoal.ActorToken,
		ID: owned.token.ID, UserID: owned.user.ID, Name: owned.user.Email}}
	if r.Personal {
		return caller, nil
	}
	err = a.join(ctx, &caller, r.TeamID)
	switch {
	case errors.Is(err, store.ErrNotFound) && r.TeamID == "":
		return Caller{}, shoal.ErrNoDefaultTeam.New("Default team not found")
	case errors.Is(err, store.ErrNotFound):
		return Caller{}, shoal.ErrNotMember.New("You are not allowed to access this team")
	}
	return caller, err
}

// join lets a user act for a team, or for their default one if the ID is empty. The error wraps
// store.ErrNotFound if they are no member.
func (a *Authenticator) join(ctx context.Context, c *Caller, teamID string) error {
	m, err := a.members.get(c.User.ID+"\n"+teamID, func() (shoal.Membership, error) {
		return a.store.Membership(ctx, teamID, c.User.ID)
	})
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return err
		}
		return shoal.ErrInternal.Wrap(err, "Error while finding the team of the user")
	}
	c.Team, c.role, c.rights = m.Team, m.Role, m.Role.Rights()
	return nil
}
