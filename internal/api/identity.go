package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

const (
	maxWorkloadTokens = 5 // of a sandbox (api.md §3.1)
	maxAudience       = 1024
	jwtSVID           = "JWT-SVID"
)

// parseTokens checks which tokens of its identity a new sandbox is to have.
func (s *Server) parseTokens(ctx context.Context, iam *gen.IAM) (map[string]shoal.WorkloadToken, error) {
	if iam == nil || len(deref(iam.Tokens)) == 0 {
		return nil, nil
	}
	if off, err := s.auth.Off(ctx, callerOf(ctx).Team.ID); err != nil {
		return nil, err
	} else if off.Has(shoal.SwitchWorkloadTokens) {
		return nil, shoal.ErrSwitchedOffOption.New("Sandbox IAM workload tokens are not available for your team.")
	}
	asked := *iam.Tokens
	if len(asked) > maxWorkloadTokens {
		return nil, shoal.ErrBadRequest.New("iam.tokens: too many tokens: %d (max %d)", len(asked), maxWorkloadTokens)
	}
	tokens := map[string]shoal.WorkloadToken{}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		t := asked[name]
		switch {
		case name == "":
			return nil, shoal.ErrBadRequest.New("iam.tokens: token name must not be empty")
		case t.Audience == "":
			return nil, shoal.ErrBadRequest.New("iam.tokens.%.128s.audience: audience is required", name)
		case t.TokenType != jwtSVID:
			return nil, shoal.ErrBadRequest.New(`iam.tokens.%.128s.tokenType: only "JWT-SVID" is supported`, name)
		case len(name) > maxMetadataKey || len(t.Audience) > maxAudience:
			return nil, shoal.ErrBadRequest.New("iam.tokens.%.128s: a name has at most %d bytes, and an audience %d",
				name, maxMetadataKey, maxAudience)
		}
		tokens[name] = shoal.WorkloadToken{Audience: t.Audience, Type: t.TokenType}
	}
	return tokens, nil
}

// keysTime is how long verifiers may keep the keys of identities. A new one is published for a day
// before it signs.
const keysTime = "public, max-age=300"

// GetOpenIDConfiguration describes who vouches for sandboxes.
func (s *Server) GetOpenIDConfiguration(
	ctx context.Context, _ gen.GetOpenIDConfigurationRequestObject,
) (gen.GetOpenIDConfigurationResponseObject, error) {
	callOf(ctx).header.Set("Cache-Control", keysTime)
	issuer := s.identity.URL()
	return gen.GetOpenIDConfiguration200JSONResponse{Issuer: issuer, JwksUri: issuer + "/.well-known/jwks.json",
		ResponseTypesSupported: []string{"id_token"}, SubjectTypesSupported: []string{"public"},
		IdTokenSigningAlgValuesSupported: []string{"ES256"},
		ClaimsSupported: []string{"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "team", "template",
			"sandbox"}}, nil
}

// GetIdentityKeys publishes the keys that identities of sandboxes are checked by.
func (s *Server) GetIdentityKeys(
	ctx context.Context, _ gen.GetIdentityKeysRequestObject,
) (gen.GetIdentityKeysResponseObject, error) {
	keys, err := s.identity.Keys(ctx)
	if err != nil {
		return nil, err
	}
	answer := gen.GetIdentityKeys200JSONResponse{Keys: []map[string]any{}}
	for _, k := range keys {
		var fields map[string]any
		text, err := k.MarshalJSON()
		if err == nil {
			err = json.Unmarshal(text, &fields)
		}
		if err != nil {
			return nil, fmt.Errorf("publish a key of identities: %w", err)
		}
		answer.Keys = append(answer.Keys, fields)
	}
	callOf(ctx).header.Set("Cache-Control", keysTime)
	return answer, nil
}
