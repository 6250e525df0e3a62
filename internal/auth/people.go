package auth

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// People makes users and what lets them in.
type People struct {
	store *store.Store
}

// NewPeople returns the people of a store.
func NewPeople(st *store.Store) *People { return &People{store: st} }

// Create makes a user of an address.
func (p *People) Create(ctx context.Context, email string) (shoal.User, error) {
	user, err := newPerson(email)
	if err != nil {
		return user, err
	}
	return user, p.store.CreateUser(ctx, user)
}

func cleanEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func newPerson(email string) (shoal.User, error) {
	email = cleanEmail(email)
	if local, host, ok := strings.Cut(email, "@"); !ok || local == "" || host == "" || len(email) > 254 ||
		strings.ContainsAny(email, " \t\r\n") || strings.Contains(host, "@") {
		return shoal.User{}, shoal.ErrBadRequest.New("%.64q is not an address of a person", email)
	}
	return shoal.User{ID: uuid.NewString(), Email: email, CreatedAt: now()}, nil
}

// serviceName is what a service account may be called.
var serviceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CreateService makes a service account of a team, with a role in it.
func (p *People) CreateService(
	ctx context.Context, team shoal.Team, name string, role shoal.Role,
) (shoal.User, error) {
	if !serviceName.MatchString(name) {
		return shoal.User{}, shoal.ErrBadRequest.New(
			"The name of a service account has 1 to 63 lower-case letters, digits, and dashes between them")
	}
	if role.Rights() == 0 {
		return shoal.User{}, shoal.ErrBadRequest.New("No role is named %.64q", role)
	}
	user := shoal.User{ID: uuid.NewString(), Email: name + "@" + team.Slug, CreatedAt: now(), ServiceTeam: team.ID}
	err := p.store.CreateServiceAccount(ctx, user, role)
	switch {
	case errors.Is(err, store.ErrExists):
		err = shoal.ErrServiceAccountExists.New("There is a service account or user %s already", user.Email)
	case errors.Is(err, store.ErrFull):
		err = shoal.ErrServiceAccountLimit.New("The team has %d service accounts, as many as it may",
			store.MaxServiceAccounts)
	}
	return user, err
}

// CreateToken makes an access token of a user. The plaintext is returned this once.
func (p *People) CreateToken(
	ctx context.Context, userID, name string,
) (plaintext string, token shoal.AccessToken, err error) {
	if name, err = CleanName("token", name); err != nil {
		return "", token, err
	}
	plaintext = randomSecret(UserTokenPrefix)
	if token, err = newAccessToken(userID, name, plaintext); err != nil {
		return "", token, err
	}
	err = p.store.CreateAccessToken(ctx, token)
	if errors.Is(err, store.ErrFull) {
		err = shoal.ErrTokenLimit.New("The user has %d access tokens, as many as they may", store.MaxAccessTokens)
	}
	return plaintext, token, err
}

// LoginKeyName is the name of keys that LogIn makes (api.md §3.15).
const LoginKeyName = "CLI login/configure"

// LogIn makes a key that stands for a member: it may what their role may, as far as keys may, and
// goes when the role changes.
func (p *People) LogIn(ctx context.Context, userID string, m shoal.Membership) (plaintext string, err error) {
	scopes := m.Role.Rights() & shoal.KeyRights
	if scopes == 0 {
		return "", shoal.ErrRole.New("The role %s in the team may do nothing", m.Role)
	}
	if scopes == shoal.KeyRights {
		scopes = 0 // it grows with what keys may
	}
	plaintext, _, err = NewKeys(p.store).Create(ctx, shoal.APIKey{TeamID: m.Team.ID, Name: LoginKeyName,
		CreatedBy: userID, Scopes: scopes, Login: true})
	return plaintext, err
}

func newAccessToken(userID, name, plaintext string) (shoal.AccessToken, error) {
	hash, err := hashSecret(UserTokenPrefix, plaintext)
	if err != nil {
		return shoal.AccessToken{}, err
	}
	return shoal.AccessToken{ID: uuid.NewString(), UserID: userID, Name: name, Hash: hash,
		Mask: maskOf(UserTokenPrefix, plaintext), CreatedAt: now()}, nil
}
