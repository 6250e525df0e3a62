// Package auth authenticates callers and derives the access tokens of sandboxes.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// The headers that carry credentials (api.md §2.1).
const (
	HeaderAPIKey     = "X-API-Key"
	HeaderAdminToken = "X-Admin-Token"
	HeaderTeamID     = "X-Team-ID"
)

// CacheTTL is how long a key's team is taken from memory: the longest that a block, a
// new limit or the removal of a key may take to have effect.
const CacheTTL = 2 * time.Second

// Caller is who sent a request.
type Caller struct {
	Team shoal.Team
	// Key is the plaintext that the caller presented, "" for an administrator.
	Key string
}

// Authenticator checks the credentials of requests. While Run is running, it also stores
// when keys were last used.
type Authenticator struct {
	store *store.Store
	admin string
	log   *slog.Logger
	now   func() time.Time
	uses  *uses

	mu    sync.Mutex // guards cache
	cache map[string]cached
}

type cached struct {
	team  shoal.Team
	keyID string
	hash  string
	until time.Time
}

// New returns an authenticator. With an empty admin token the admin routes refuse everyone.
func New(st *store.Store, adminToken string, log *slog.Logger) *Authenticator {
	return &Authenticator{store: st, admin: adminToken, log: log, now: time.Now,
		cache: map[string]cached{}, uses: newUses()}
}

// The first line of a rejection, which depends on the scheme (api.md §2.3).
const (
	keyRejected    = "Invalid API key."
	tokenRejected  = "E2B_ACCESS_TOKEN is deprecated and no longer accepted. Use an API key (E2B_API_KEY) instead."
	jwtRejected    = "Invalid auth provider token."
	adminRejected  = "Invalid Access token."
	adminTeamWrong = "Invalid admin token teamID."
)

func rejected(firstLine, detail string) error {
	return shoal.ErrUnauthorized.New("%s\n%s", firstLine, detail)
}

// Team finds the team of a request. An API key takes precedence over other credentials,
// because old SDKs also send a stale bearer token (clients.md D22).
func (a *Authenticator) Team(ctx context.Context, h http.Header) (Caller, error) {
	key, bearer := h.Get(HeaderAPIKey), h.Get("Authorization")
	var caller Caller
	var err error
	switch {
	case key != "":
		caller, err = a.byKey(ctx, key)
	case h.Get(HeaderAdminToken) != "":
		caller, err = a.asTeam(ctx, h)
	case bearer != "":
		return caller, rejectBearer(bearer)
	default:
		return caller, rejected(keyRejected, "authorization header is missing")
	}
	if err == nil && caller.Team.Banned {
		err = shoal.ErrForbidden.New("team is banned")
	}
	return caller, err
}

// Admin checks the admin token of a request.
func (a *Authenticator) Admin(h http.Header) error {
	if !Equal(h.Get(HeaderAdminToken), a.admin) {
		return rejected(adminRejected, "Invalid Access token.")
	}
	return nil
}

func (a *Authenticator) byKey(ctx context.Context, key string) (Caller, error) {
	hash, err := HashKey(key)
	switch {
	case errors.Is(err, ErrKeyPrefix):
		return Caller{}, rejected(keyRejected, "authorization header is malformed")
	case err != nil:
		return Caller{}, rejected(keyRejected, "Invalid API key format")
	}
	entry, err := a.owner(ctx, hash)
	if errors.Is(err, store.ErrNotFound) || (err == nil && !Equal(entry.hash, hash)) {
		return Caller{}, rejected(keyRejected, "Cannot get the team for the given API key")
	}
	if err != nil {
		return Caller{}, shoal.ErrInternal.Wrap(err, "Error while checking the API key")
	}
	a.uses.note(entry.keyID, a.now())
	return Caller{Team: entry.team, Key: key}, nil
}

// owner looks a key up in the cache, then in the store. Only hits are cached, so that
// guessed keys cannot fill the memory.
func (a *Authenticator) owner(ctx context.Context, hash string) (cached, error) {
	now := a.now()
	a.mu.Lock()
	entry, ok := a.cache[hash]
	a.mu.Unlock()
	if ok && now.Before(entry.until) {
		return entry, nil
	}
	team, keyID, stored, err := a.store.KeyOwner(ctx, hash)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		delete(a.cache, hash)
		return cached{}, err
	}
	entry = cached{team: team, keyID: keyID, hash: stored, until: now.Add(CacheTTL)}
	a.cache[hash] = entry
	return entry, nil
}

// Forget empties the cache, so that a change made in this process takes effect at once.
func (a *Authenticator) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.cache)
}

// asTeam lets an administrator act for the team of X-Team-ID.
func (a *Authenticator) asTeam(ctx context.Context, h http.Header) (Caller, error) {
	if err := a.Admin(h); err != nil {
		return Caller{}, err
	}
	id, err := uuid.Parse(h.Get(HeaderTeamID))
	if err != nil {
		return Caller{}, shoal.ErrBadRequest.New("%s\nInvalid team ID", adminTeamWrong)
	}
	team, err := a.store.Team(ctx, id.String())
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, shoal.ErrTeamNotFound.New("%s\nTeam not found", adminTeamWrong)
	}
	if err != nil {
		return Caller{}, shoal.ErrInternal.Wrap(err, "Error while finding the team")
	}
	return Caller{Team: team}, nil
}

// rejectBearer returns the error for a bearer token. Shoal supports neither user
// credentials, which need an identity provider, nor E2B's deprecated access tokens.
func rejectBearer(header string) error {
	value, ok := strings.CutPrefix(header, "Bearer ")
	switch {
	case !ok:
		return rejected(jwtRejected, "authorization header is malformed")
	case strings.HasPrefix(value, "sk_e2b_"):
		return shoal.ErrUnauthorized.New(tokenRejected)
	default:
		return rejected(jwtRejected, "Backend authentication failed")
	}
}

// Run stores when keys were last used, until ctx ends.
func (a *Authenticator) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return a.flushUses(flush)
		case <-a.uses.wake:
			if err := a.flushUses(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("could not store when keys were last used", "error", err)
			}
		}
	}
}

func (a *Authenticator) flushUses(ctx context.Context) error {
	var errs []error
	for id, at := range a.uses.take() {
		if err := a.store.TouchKey(ctx, id, at); err != nil {
			a.uses.putBack(id, at)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("store the use of keys: %w", err)
	}
	return nil
}
