package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// KeyPrefix starts every API key; lower-case hex digits follow (api.md §2.1).
const KeyPrefix = "e2b_"

// keyBytes is the length of a new secret's random value.
const keyBytes = 20

// secretBytes is that of a session's and a link's.
const secretBytes = 32

// ErrKeyPrefix and ErrKeyFormat say what is wrong with a key's text.
var (
	ErrKeyPrefix = errors.New("the key does not start with " + KeyPrefix)
	ErrKeyFormat = errors.New("the key is not hexadecimal after its prefix")
)

// HashKey returns the hash that is stored instead of a key: "$sha256$" and the unpadded
// base64 of the SHA-256 of the decoded bytes (api.md §2.1).
func HashKey(key string) (string, error) { return hashSecret(KeyPrefix, key) }

// hashSecret is HashKey for secrets with another prefix.
func hashSecret(prefix, text string) (string, error) {
	value, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return "", ErrKeyPrefix
	}
	raw, err := hex.DecodeString(value)
	if err != nil || len(raw) == 0 {
		return "", ErrKeyFormat
	}
	sum := sha256.Sum256(raw)
	return "$sha256$" + base64.RawStdEncoding.EncodeToString(sum[:]), nil
}

// Keys makes, lists and removes API keys.
type Keys struct {
	store *store.Store
}

// NewKeys returns the keys of a store.
func NewKeys(st *store.Store) *Keys { return &Keys{store: st} }

// Create makes a random key of the team, name, creator, scopes and end of wanted. The plaintext
// is returned this once.
func (k *Keys) Create(ctx context.Context, wanted shoal.APIKey) (plaintext string, key shoal.APIKey, err error) {
	if wanted.Name, err = CleanName("key", wanted.Name); err != nil {
		return "", key, err
	}
	if wanted.Expired(time.Now()) {
		return "", key, shoal.ErrBadRequest.New("The key would have expired already")
	}
	plaintext = randomSecret(KeyPrefix)
	if key, err = newKey(wanted, plaintext); err != nil {
		return "", key, err
	}
	err = k.store.CreateKey(ctx, key)
	if errors.Is(err, store.ErrFull) {
		err = shoal.ErrKeyLimit.New("The team has %d API keys, as many as it may", store.MaxKeys)
	}
	return plaintext, key, err
}

// CleanName returns a name without blanks around it; ErrBadRequest if it is none for a thing of
// that kind.
func CleanName(kind, name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > 128 {
		return "", shoal.ErrBadRequest.New("The name of a %s has 1 to 128 characters", kind)
	}
	return name, nil
}

// List returns a team's keys, oldest first.
func (k *Keys) List(ctx context.Context, teamID string) ([]shoal.APIKey, error) {
	return k.store.Keys(ctx, teamID)
}

// Delete removes a team's key; store.ErrNotFound if it has none with this ID. The
// authenticators of other processes notice within CacheTTL.
func (k *Keys) Delete(ctx context.Context, teamID, keyID string) error {
	return k.store.DeleteKey(ctx, teamID, keyID)
}

// EnsureDev creates the development team with its key, and the development user with their
// identity and access token, where they are missing. Key and token are fixed and publicly known.
func (k *Keys) EnsureDev(ctx context.Context) error {
	team := shoal.Team{ID: shoal.DevTeamID, Name: shoal.DevTeamName, Slug: shoal.DevTeamSlug,
		Limits: shoal.DefaultTeamLimits(), MayPublish: true}
	key, err := newKey(shoal.APIKey{TeamID: team.ID, Name: "development"}, shoal.DevAPIKey)
	if err != nil {
		return err
	}
	token, err := newAccessToken(shoal.DevUserID, "development", shoal.DevAccessToken)
	if err != nil {
		return err
	}
	token.ID = shoal.DevAccessTokenID
	for _, ensure := range []func() error{
		func() error { return k.store.CreateTeam(ctx, team) },
		func() error { return k.store.CreateKey(ctx, key) },
		func() error {
			return k.store.CreateUser(ctx,
				shoal.User{ID: shoal.DevUserID, Email: shoal.DevUserEmail, CreatedAt: token.CreatedAt})
		},
		func() error { return k.store.AddMember(ctx, team.ID, shoal.DevUserID, shoal.RoleOwner) },
		func() error {
			return k.store.AddIdentity(ctx, shoal.DevUserID,
				shoal.Identity{Issuer: shoal.DevIssuer, Subject: shoal.DevSubject})
		},
		func() error { return k.store.CreateAccessToken(ctx, token) },
	} {
		if err := ensure(); err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	return nil
}

// DefaultTeamSlug is the slug of the team that EnsureFirst creates.
const DefaultTeamSlug = "default"

// EnsureFirst creates a default team with a random key if the store has no team yet, and
// returns the key's plaintext; otherwise it returns "". If several processes start at
// once, only one of them gets the key.
func (k *Keys) EnsureFirst(ctx context.Context) (plaintext string, err error) {
	teams, err := k.store.Teams(ctx)
	if err != nil || len(teams) > 0 {
		return "", err
	}
	team := shoal.Team{ID: uuid.NewString(), Name: "default", Slug: DefaultTeamSlug,
		Limits: shoal.DefaultTeamLimits(), MayPublish: true}
	plaintext = randomSecret(KeyPrefix)
	key, err := newKey(shoal.APIKey{TeamID: team.ID, Name: "first"}, plaintext)
	if err != nil {
		return "", err
	}
	err = k.store.CreateTeamWithKey(ctx, team, key)
	if errors.Is(err, store.ErrExists) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("make the first key: %w", err)
	}
	return plaintext, nil
}

func randomSecret(prefix string) string { return prefix + randomHex(keyBytes) }

func randomHex(bytes int) string {
	raw := make([]byte, bytes)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}

// newKey gives a key its ID, hash, mask and time.
func newKey(key shoal.APIKey, plaintext string) (shoal.APIKey, error) {
	hash, err := HashKey(plaintext)
	if err != nil {
		return shoal.APIKey{}, err
	}
	key.ID, key.Hash, key.Mask, key.CreatedAt = uuid.NewString(), hash, maskOf(KeyPrefix, plaintext), now()
	key.ExpiresAt = key.ExpiresAt.Truncate(time.Microsecond) // what the store keeps
	return key, nil
}

func maskOf(prefix, plaintext string) shoal.Mask {
	value := strings.TrimPrefix(plaintext, prefix)
	return shoal.Mask{Prefix: value[:2], Suffix: value[len(value)-min(4, len(value)):], Length: len(value)}
}

// now is the time as the store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
