package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

const (
	// secretsTime bounds a request about secrets (api.md §3.19).
	secretsTime = 25 * time.Second
	// maxSecretBody is 512 KiB: a value of 64 KiB may be written by escapes (runtime.md §5.4).
	maxSecretBody = 512 << 10
)

// aboutSecrets reports whether a route is one of secrets.
func aboutSecrets(route string) bool {
	return route == "/secrets" || strings.HasPrefix(route, "/secrets/")
}

// withholding is a handler whose answers nobody may keep, and whose request's shape is never quoted:
// values are in it.
func withholding(route string, next http.HandlerFunc) http.HandlerFunc {
	if !aboutSecrets(route) {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		ctx, cancel := context.WithTimeout(r.Context(), secretsTime)
		defer cancel()
		next(w, r.WithContext(ctx))
	}
}

// misshapen words a violation of the specification for an operation.
func (o operation) misshapen(err error) error {
	if err == nil || !aboutSecrets(o.route) || shoal.ErrBodyTooLarge.Matches(err) {
		return err
	}
	return shoal.ErrSecret.New("Invalid secrets request")
}

// ListSecrets lists the team's secrets, newest first.
func (s *Server) ListSecrets(
	ctx context.Context, req gen.ListSecretsRequestObject,
) (gen.ListSecretsResponseObject, error) {
	c, err := decodeCursor(req.Params.NextToken, false)
	if err != nil {
		return nil, err
	}
	var after *store.SecretPlace
	if c != nil {
		after = &store.SecretPlace{At: c.at, ID: c.id}
	}
	size := pageSize(req.Params.Limit)
	list, err := s.store.Secrets(ctx, callerOf(ctx).Team.ID, after, size+1)
	if err != nil {
		return nil, secretFailure(ctx, err)
	}
	answer := gen.ListSecrets200JSONResponse{Body: []gen.Secret{}}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		next := encodeCursor(cursor{last.CreatedAt, last.ID}, false)
		answer.Headers.XNextToken = &next
	}
	for _, secret := range list {
		answer.Body = append(answer.Body, wireSecret(secret))
	}
	return answer, nil
}

// CreateSecret makes a secret. Its value is never told to anybody.
func (s *Server) CreateSecret(
	ctx context.Context, req gen.CreateSecretRequestObject,
) (gen.CreateSecretResponseObject, error) {
	name, err := shoal.ParseSecretName(req.Body.Name)
	if err == nil {
		err = checkSecret(req.Body.Value, req.Body.Metadata)
	}
	if err != nil {
		return nil, err
	}
	team, now := callerOf(ctx).Team, time.Now().UTC().Truncate(time.Microsecond)
	secret := shoal.Secret{ID: shoal.NewSecretID(), TeamID: team.ID, Name: name, Version: 1,
		Metadata: deref(req.Body.Metadata), CreatedAt: now, UpdatedAt: now}
	err = s.store.AddSecret(ctx, secret, req.Body.Value, team.Limits.Secrets)
	switch {
	case errors.Is(err, store.ErrExists):
		err = shoal.ErrSecretExists.New("Secret cannot be modified in its current state").Because(
			"a secret of this name exists")
	case errors.Is(err, store.ErrFull):
		err = shoal.ErrSecretLimit.New("you have reached the maximum number of secrets (%d).", team.Limits.Secrets)
	}
	if err != nil {
		return nil, secretFailure(ctx, err)
	}
	aimed(ctx, "secret", secret.ID)
	return gen.CreateSecret201JSONResponse(wireSecret(secret)), nil
}

func checkSecret(value string, metadata *gen.StringMap) error {
	if err := shoal.CheckSecretValue(value); err != nil {
		return err
	}
	return shoal.CheckSecretMetadata(deref(metadata))
}

// GetSecret returns what is known of a secret.
func (s *Server) GetSecret(
	ctx context.Context, req gen.GetSecretRequestObject,
) (gen.GetSecretResponseObject, error) {
	secret, err := s.secret(ctx, req.SecretID)
	if err != nil {
		return nil, err
	}
	return gen.GetSecret200JSONResponse(wireSecret(secret)), nil
}

// secret finds one of the team's by its ID or name.
func (s *Server) secret(ctx context.Context, idOrName string) (shoal.Secret, error) {
	secret, err := s.store.Secret(ctx, callerOf(ctx).Team.ID, strings.ToLower(idOrName))
	return secret, secretFailure(ctx, err)
}

// UpdateSecret gives a secret a new value.
func (s *Server) UpdateSecret(
	ctx context.Context, req gen.UpdateSecretRequestObject,
) (gen.UpdateSecretResponseObject, error) {
	if err := checkSecret(req.Body.Value, req.Body.Metadata); err != nil {
		return nil, err
	}
	secret, err := s.secret(ctx, req.SecretID)
	if err != nil {
		return nil, err
	}
	aimed(ctx, "secret", secret.ID)
	metadata := deref(req.Body.Metadata)
	if req.Body.Metadata != nil && metadata == nil {
		metadata = map[string]string{}
	}
	secret, err = s.store.ChangeSecret(ctx, secret.TeamID, secret.ID, req.Body.Value, metadata,
		time.Now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return nil, secretFailure(ctx, err)
	}
	return gen.UpdateSecret200JSONResponse(wireSecret(secret)), nil
}

// DeleteSecret removes a secret with its value.
func (s *Server) DeleteSecret(
	ctx context.Context, req gen.DeleteSecretRequestObject,
) (gen.DeleteSecretResponseObject, error) {
	secret, err := s.secret(ctx, req.SecretID)
	if err != nil {
		return nil, err
	}
	aimed(ctx, "secret", secret.ID)
	if err := s.store.RemoveSecret(ctx, secret.TeamID, secret.ID); err != nil {
		return nil, secretFailure(ctx, err)
	}
	return gen.DeleteSecret204Response{}, nil
}

// secretFailure words what went wrong as api.md §3.19 does.
func secretFailure(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return shoal.ErrSecretNotFound.New("Secret not found")
	case errors.Is(err, store.ErrBusy):
		return shoal.ErrSecretExists.New("Secret cannot be modified in its current state").Because(
			"others change it at the same time")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return shoal.ErrSecretTime.Wrap(err, "Secrets backend timed out")
	case shoal.ErrSealCommand.Matches(err):
		return shoal.ErrSealCommand.Wrap(err, "Secrets backend error")
	}
	return err
}

func wireSecret(secret shoal.Secret) gen.Secret {
	metadata := secret.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	return gen.Secret{SecretID: secret.ID, Name: secret.Name, CurrentVersion: secret.Version, Metadata: metadata,
		CreatedAt: secret.CreatedAt, UpdatedAt: secret.UpdatedAt}
}
