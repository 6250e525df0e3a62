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

// keyBytes is the length of a new key's random value.
const keyBytes = 20

// ErrKeyPrefix and ErrKeyFormat say what is wrong with a key's text.
var (
	ErrKeyPrefix = errors.New("the key does not start with " + KeyPrefix)
	ErrKeyFormat = errors.New("the key is not hexadecimal after its prefix")
)

// HashKey returns the hash that is stored instead of a key: "$sha256$" and the unpadded
// base64 of the SHA-256 of the decoded bytes (api.md §2.1).
func HashKey(key string) (string, error) {
	value, ok := strings.CutPrefix(key, KeyPrefix)
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

// Create makes a random key for a team. The plaintext is returned this once.
func (k *Keys) Create(
	ctx context.Context, teamID, name string,
) (plaintext string, key shoal.APIKey, err error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > 128 {
		return "", key, shoal.ErrBadRequest.New("A key's name has 1 to 128 characters")
	}
	plaintext = randomKey()
	if key, err = newKey(teamID, name, plaintext); err != nil {
		return "", key, err
	}
	if err := k.store.CreateKey(ctx, key); err != nil {
		return "", key, err
	}
	return plaintext, key, nil
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

// EnsureDev creates the development team and its key if they are missing. The key is
// fixed and publicly known.
func (k *Keys) EnsureDev(ctx context.Context) error {
	team := shoal.Team{ID: shoal.DevTeamID, Name: shoal.DevTeamName, Slug: shoal.DevTeamSlug,
		Limits: shoal.DefaultTeamLimits(), MayPublish: true}
	if err := k.store.CreateTeam(ctx, team); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	key, err := newKey(team.ID, "development", shoal.DevAPIKey)
	if err != nil {
		return err
	}
	if err := k.store.CreateKey(ctx, key); err != nil && !errors.Is(err, store.ErrExists) {
		return err
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
	plaintext = randomKey()
	key, err := newKey(team.ID, "first", plaintext)
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

func randomKey() string {
	raw := make([]byte, keyBytes)
	rand.Read(raw)
	return KeyPrefix + hex.EncodeToString(raw)
}

func newKey(teamID, name, plaintext string) (shoal.APIKey, error) {
	hash, err := HashKey(plaintext)
	if err != nil {
		return shoal.APIKey{}, err
	}
	value := strings.TrimPrefix(plaintext, KeyPrefix)
	return shoal.APIKey{ID: uuid.NewString(), TeamID: teamID, Name: name, Hash: hash,
		MaskPrefix: value[:2], MaskSuffix: value[len(value)-min(4, len(value)):], Length: len(value),
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}, nil
}
