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

// CreateAccessToken makes an access token of the user who calls.
func (s *Server) CreateAccessToken(
	ctx context.Context, req gen.CreateAccessTokenRequestObject,
) (gen.CreateAccessTokenResponseObject, error) {
	if s.noNewTokens {
		return nil, shoal.ErrTokensClosed.New("Creating new access tokens is disabled. E2B_ACCESS_TOKEN is deprecated; " +
			"use an API key (E2B_API_KEY) instead. See https://e2b.dev/docs/migration/access-token-deprecation")
	}
	plaintext, token, err := s.people.CreateToken(ctx, callerOf(ctx).User.ID, req.Body.Name)
	if err != nil {
		return nil, err
	}
	aimed(ctx, "token", token.ID)
	return gen.CreateAccessToken201JSONResponse{Id: token.ID, Name: token.Name, Token: plaintext,
		Mask: wireMask(auth.UserTokenPrefix, token.Mask), CreatedAt: token.CreatedAt}, nil
}

// DeleteAccessToken ends one of the user's access tokens, at once in this process.
func (s *Server) DeleteAccessToken(
	ctx context.Context, req gen.DeleteAccessTokenRequestObject,
) (gen.DeleteAccessTokenResponseObject, error) {
	id, err := uuid.Parse(req.AccessTokenID)
	if err != nil {
		return nil, shoal.ErrBadRequest.New("Error when parsing access token ID: %s", err)
	}
	err = s.store.DeleteAccessToken(ctx, callerOf(ctx).User.ID, id.String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, shoal.ErrTokenNotFound.New("id not found")
	}
	s.auth.Changed(ctx)
	return gen.DeleteAccessToken204Response{}, err
}
