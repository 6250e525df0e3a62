package api

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/auth"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListAPIKeys lists the team's keys, masked, oldest first.
func (s *Server) ListAPIKeys(
	ctx context.Context, _ gen.ListAPIKeysRequestObject,
) (gen.ListAPIKeysResponseObject, error) {
	keys, err := s.keys.List(ctx, callerOf(ctx).Team.ID)
	if err != nil {
		return nil, err
	}
	rows := make(gen.ListAPIKeys200JSONResponse, len(keys))
	for i, key := range keys {
		rows[i] = wireKey(key)
	}
	return rows, nil
}

// CreateAPIKey makes a key in the name of the user who calls.
func (s *Server) CreateAPIKey(
	ctx context.Context, req gen.CreateAPIKeyRequestObject,
) (gen.CreateAPIKeyResponseObject, error) {
	caller := callerOf(ctx)
	made, err := s.createKey(ctx, shoal.APIKey{TeamID: caller.Team.ID, CreatedBy: caller.User.ID}, *req.Body)
	return gen.CreateAPIKey201JSONResponse(made), err
}

// RenameAPIKey gives one of the team's keys another name. The status is E2B's (api.md §3.16).
func (s *Server) RenameAPIKey(
	ctx context.Context, req gen.RenameAPIKeyRequestObject,
) (gen.RenameAPIKeyResponseObject, error) {
	id, err := parseKeyID(req.ApiKeyID)
	if err != nil {
		return nil, err
	}
	name, err := auth.CleanName("key", req.Body.Name)
	if err != nil {
		return nil, err
	}
	key, err := s.store.RenameKey(ctx, callerOf(ctx).Team.ID, id, name)
	if errors.Is(err, store.ErrNotFound) {
		err = shoal.ErrKeyNotFound.New("id not found")
	}
	return gen.RenameAPIKey202JSONResponse(wireKey(key)), err
}

// DeleteAPIKey ends one of the team's keys.
func (s *Server) DeleteAPIKey(
	ctx context.Context, req gen.DeleteAPIKeyRequestObject,
) (gen.DeleteAPIKeyResponseObject, error) {
	err := s.deleteKey(ctx, callerOf(ctx).Team.ID, req.ApiKeyID, "id not found")
	return gen.DeleteAPIKey204Response{}, err
}

// createKey makes a key of a team, creator and owner.
func (s *Server) createKey(
	ctx context.Context, wanted shoal.APIKey, asked gen.NewAPIKey,
) (gen.CreatedAPIKey, error) {
	scopes, err := shoal.ParseScopes(deref(asked.Scopes))
	if err != nil {
		return gen.CreatedAPIKey{}, err
	}
	wanted.Name, wanted.Scopes, wanted.ExpiresAt = asked.Name, scopes, deref(asked.ExpiresAt)
	plaintext, key, err := s.keys.Create(ctx, wanted)
	if err != nil {
		return gen.CreatedAPIKey{}, err
	}
	aimed(ctx, "key", key.ID)
	row := wireKey(key)
	return gen.CreatedAPIKey{Id: row.Id, Name: row.Name, Key: plaintext, Mask: row.Mask, CreatedAt: row.CreatedAt,
		CreatedBy: row.CreatedBy, Scopes: row.Scopes, ExpiresAt: row.ExpiresAt,
		ServiceAccountID: row.ServiceAccountID}, nil
}

// deleteKey ends a key of a team, at once in this process.
func (s *Server) deleteKey(ctx context.Context, teamID, keyID, unknown string) error {
	id, err := parseKeyID(keyID)
	if err != nil {
		return err
	}
	err = s.keys.Delete(ctx, teamID, id)
	if errors.Is(err, store.ErrNotFound) {
		return shoal.ErrKeyNotFound.New("%s", unknown)
	}
	s.auth.Changed(ctx)
	return err
}

func parseKeyID(text string) (string, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return "", shoal.ErrBadRequest.New("Error when parsing API key ID: %s", err)
	}
	return id.String(), nil
}

func wireKey(key shoal.APIKey) gen.APIKey {
	row := gen.APIKey{Id: key.ID, Name: key.Name, Mask: wireMask(auth.KeyPrefix, key.Mask),
		ServiceAccountID: optional(key.Owner),
		CreatedAt:        key.CreatedAt, LastUsed: optionalTime(key.LastUsed), ExpiresAt: optionalTime(key.ExpiresAt)}
	if key.CreatedBy != "" {
		row.CreatedBy = &gen.TeamUser{Id: key.CreatedBy}
	}
	if names := key.Scopes.Names(); len(names) > 0 {
		row.Scopes = &names
	}
	return row
}

func wireMask(prefix string, m shoal.Mask) gen.Mask {
	return gen.Mask{Prefix: prefix, ValueLength: m.Length, MaskedValuePrefix: m.Prefix, MaskedValueSuffix: m.Suffix}
}
