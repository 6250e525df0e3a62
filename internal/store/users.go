package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// MaxAccessTokens is how many access tokens a user may have.
const MaxAccessTokens = 100

// CreateUser stores a user. ErrExists if the ID or the address is taken.
func (s *Store) CreateUser(ctx context.Context, u shoal.User) error {
	n, err := s.q.InsertUser(ctx, sqlcgen.InsertUserParams{ID: u.ID, Email: u.Email,
		CreatedAt: micros(u.CreatedAt)})
	return changed(n, err, ErrExists, "create user "+u.ID)
}

// CreateVouchedUser stores a user with an identity, both or none. ErrExists if one of them is taken.
func (s *Store) CreateVouchedUser(ctx context.Context, u shoal.User, id shoal.Identity) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.InsertUser(ctx, sqlcgen.InsertUserParams{ID: u.ID, Email: u.Email, CreatedAt: micros(u.CreatedAt)})
		if err := changed(n, err, ErrExists, "create user "+u.ID); err != nil {
			return err
		}
		n, err = q.InsertIdentity(ctx, sqlcgen.InsertIdentityParams{Issuer: id.Issuer, Subject: id.Subject,
			UserID: u.ID, CreatedAt: micros(u.CreatedAt)})
		return changed(n, err, ErrExists, "add an identity to user "+u.ID)
	})
}

// UserByEmail returns a user by address.
func (s *Store) UserByEmail(ctx context.Context, email string) (shoal.User, error) {
	row, err := s.q.UserByEmail(ctx, email)
	return userOf(row), lookup(err, "find a user by address")
}

// Users returns all users, oldest first.
func (s *Store) Users(ctx context.Context) ([]shoal.User, error) {
	rows, err := s.q.ListUsers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	users := make([]shoal.User, len(rows))
	for i, row := range rows {
		users[i] = userOf(row)
	}
	return users, nil
}

// DeleteUser removes a user with their memberships, identities, access tokens and login keys, or
// a service account with its keys. Other keys that they made are their teams' and stay.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := q.DeleteLoginKeysOfUser(ctx, id); err != nil {
			return fmt.Errorf("delete login keys of user %s: %w", id, err)
		}
		if err := q.DeleteOwnedKeys(ctx, id); err != nil {
			return fmt.Errorf("delete keys of service account %s: %w", id, err)
		}
		if err := q.DeletePasswordLinks(ctx, id); err != nil {
			return fmt.Errorf("delete links of user %s: %w", id, err)
		}
		n, err := q.DeleteUser(ctx, id)
		return changed(n, err, ErrNotFound, "delete user "+id)
	})
}

// AddIdentity lets a user come by an issuer's tokens. ErrExists if the identity is another
// user's, or the user has one with this issuer.
func (s *Store) AddIdentity(ctx context.Context, userID string, id shoal.Identity) error {
	n, err := s.q.InsertIdentity(ctx, sqlcgen.InsertIdentityParams{Issuer: id.Issuer, Subject: id.Subject,
		UserID: userID, CreatedAt: time.Now().UnixMicro()})
	return changed(n, err, ErrExists, "add an identity to user "+userID)
}

// UserByIdentity returns the user whom an issuer knows by a subject.
func (s *Store) UserByIdentity(ctx context.Context, id shoal.Identity) (shoal.User, error) {
	row, err := s.q.UserByIdentity(ctx, sqlcgen.UserByIdentityParams{Issuer: id.Issuer, Subject: id.Subject})
	return userOf(row), lookup(err, "find a user by identity")
}

// Identities returns a user's identities, by issuer.
func (s *Store) Identities(ctx context.Context, userID string) ([]shoal.Identity, error) {
	rows, err := s.q.ListIdentities(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("list identities: %w", err)
	}
	list := make([]shoal.Identity, len(rows))
	for i, row := range rows {
		list[i] = shoal.Identity{Issuer: row.Issuer, Subject: row.Subject}
	}
	return list, nil
}

// DeleteIdentity ends that a user comes by an issuer's tokens.
func (s *Store) DeleteIdentity(ctx context.Context, userID, issuer string) error {
	n, err := s.q.DeleteIdentity(ctx, sqlcgen.DeleteIdentityParams{UserID: userID, Issuer: issuer})
	return changed(n, err, ErrNotFound, "delete an identity of user "+userID)
}

// CreateAccessToken stores a token's hash and mask. ErrExists if the hash is already stored,
// ErrFull if the user has MaxAccessTokens.
func (s *Store) CreateAccessToken(ctx context.Context, token shoal.AccessToken) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.LockUser(ctx, token.UserID)
		if err := changed(n, err, ErrNotFound, "lock user "+token.UserID); err != nil {
			return err
		}
		n, err = q.InsertAccessToken(ctx, sqlcgen.InsertAccessTokenParams{ID: token.ID, UserID: token.UserID,
			Name: token.Name, Hash: token.Hash, MaskPrefix: token.Mask.Prefix, MaskSuffix: token.Mask.Suffix,
			Length: int64(token.Mask.Length), CreatedAt: micros(token.CreatedAt)})
		if err := changed(n, err, ErrExists, "create access token "+token.Name); err != nil {
			return err
		}
		have, err := q.CountAccessTokens(ctx, token.UserID)
		if err != nil {
			return fmt.Errorf("count access tokens: %w", err)
		}
		if have > MaxAccessTokens {
			return fmt.Errorf("create access token %s: %w", token.Name, ErrFull)
		}
		return nil
	})
}

// AccessTokenOwner returns the token with this hash and its user.
func (s *Store) AccessTokenOwner(ctx context.Context, hash string) (shoal.User, shoal.AccessToken, error) {
	row, err := s.q.AccessTokenOwner(ctx, hash)
	return userOf(row.User), tokenOf(row.AccessToken), lookup(err, "find an access token")
}

// AccessTokens returns a user's tokens, oldest first.
func (s *Store) AccessTokens(ctx context.Context, userID string) ([]shoal.AccessToken, error) {
	rows, err := s.q.ListAccessTokens(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("list access tokens: %w", err)
	}
	list := make([]shoal.AccessToken, len(rows))
	for i, row := range rows {
		list[i] = tokenOf(row)
	}
	return list, nil
}

// DeleteAccessToken removes a user's token. ErrNotFound if the user has none with this ID.
func (s *Store) DeleteAccessToken(ctx context.Context, userID, id string) error {
	n, err := s.q.DeleteAccessToken(ctx, sqlcgen.DeleteAccessTokenParams{ID: id, UserID: userID})
	return changed(n, err, ErrNotFound, "delete access token "+id)
}

func tokenOf(row sqlcgen.AccessToken) shoal.AccessToken {
	return shoal.AccessToken{ID: row.ID, UserID: row.UserID, Name: row.Name, Hash: row.Hash,
		Mask:      shoal.Mask{Prefix: row.MaskPrefix, Suffix: row.MaskSuffix, Length: int(row.Length)},
		CreatedAt: fromMicros(row.CreatedAt)}
}

func userOf(row sqlcgen.User) shoal.User {
	return shoal.User{ID: row.ID, Email: row.Email, CreatedAt: fromMicros(row.CreatedAt), ServiceTeam: row.ServiceTeam}
}
