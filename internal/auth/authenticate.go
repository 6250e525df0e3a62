// Package auth authenticates callers and derives the access tokens of sandboxes.
package auth

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"shoal/internal/live"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// The headers that carry credentials (api.md §2.1).
const (
	HeaderAPIKey     = "X-API-Key"
	HeaderAdminToken = "X-Admin-Token"
	HeaderBearer     = "Authorization"
	HeaderTeamID     = "X-Team-ID"
)

// CacheTTL is how long the owner of a key or token is taken from memory: the longest that a
// block, a new limit, another role or the removal of a key in another process may take to have
// effect.
const CacheTTL = 2 * time.Second

// Way is a way to be authenticated.
type Way int

// The ways (api.md §2.2).
const (
	ByKey          Way = iota + 1 // an API key, for its team
	ByMember                      // a user by an issuer's token or signed in, for the team of X-Team-ID
	ByAdminForTeam                // an operator, for the team of X-Team-ID
	ByAccessToken                 // a user, for the named or the default team, or for none
	ByUser                        // a user by an issuer's token or signed in, for no team
	ByAdmin                       // an operator, for no team
)

// Request is what Authenticate looks at.
type Request struct {
	Header http.Header
	// Ways are tried in their order; the first one that succeeds counts.
	Ways []Way
	// Personal means that a user with an access token acts for no team. Otherwise it is the
	// team TeamID, or the user's default one if that is empty.
	Personal bool
	TeamID   string
	// Secure means that the request came by TLS, which says which cookie counts.
	Secure bool
}

// Verifier checks an issuer's token (a JWT) and says whom it is about. Callers read the text of
// its errors.
type Verifier interface {
	Verify(ctx context.Context, token string) (shoal.Identity, error)
}

// Config is what authentication depends on.
type Config struct {
	// AdminToken lets operators in; without one, nobody is.
	AdminToken string
	// Issuers checks JWTs; nil refuses all.
	Issuers Verifier
	// NoAccessTokens refuses all access tokens.
	NoAccessTokens bool
	// Off are features that nobody can use, whatever is switched.
	Off shoal.Switches
	// Tries counts wrong passwords; nil is this process's memory.
	Tries Tries
	// Changed is called when this process has changed what others may have in their memory; may be nil.
	Changed func(context.Context)
}

// Authenticator checks the credentials of requests. While Run is running, it also stores
// when keys were last used.
type Authenticator struct {
	store    *store.Store
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	uses     *uses
	recent   *recent
	keys     *cache[ownedKey]         // by hash
	tokens   *cache[ownedToken]       // by hash
	people   *cache[shoal.User]       // by identity
	members  *cache[shoal.Membership] // by user and team
	off      *cache[shoal.Switches]   // by team
	sessions *cache[store.Session]    // by hash
	tries    Tries
	hashing  hashing
}

// New returns an authenticator.
func New(st *store.Store, cfg Config, log *slog.Logger) *Authenticator {
	a := &Authenticator{store: st, cfg: cfg, log: log, now: time.Now, uses: newUses(), recent: newRecent()}
	now := func() time.Time { return a.now() }
	a.keys, a.tokens = newCache[ownedKey](now), newCache[ownedToken](now)
	a.people, a.members = newCache[shoal.User](now), newCache[shoal.Membership](now)
	a.off = newCache[shoal.Switches](now)
	a.sessions, a.tries, a.hashing = newCache[store.Session](now), cfg.Tries, newHashing()
	if a.tries == nil {
		a.tries = &live.Tries{Now: now}
	}
	return a
}

// Forget empties the caches, so that a change made in another process takes effect at once.
func (a *Authenticator) Forget() {
	for _, c := range a.caches() {
		c.clear()
	}
}

// Changed is Forget for a change made in this process, which it also tells others.
func (a *Authenticator) Changed(ctx context.Context) { a.forget(ctx, a.caches()...) }

func (a *Authenticator) caches() []clearable {
	return []clearable{a.keys, a.tokens, a.people, a.members, a.off, a.sessions}
}

type clearable interface{ clear() }

// forget empties some caches, and tells others that something has changed.
func (a *Authenticator) forget(ctx context.Context, caches ...clearable) {
	for _, c := range caches {
		c.clear()
	}
	if a.cfg.Changed != nil {
		a.cfg.Changed(ctx)
	}
}

// Authenticate finds out who sent a request. An API key comes first where routes take one,
// because old SDKs also send a stale bearer token (clients.md D22). Of several rejections, the
// first one of a credential that was sent is told, or else the first one (api.md §2.3). With it
// comes what is known of who sent it.
func (a *Authenticator) Authenticate(ctx context.Context, r Request) (Caller, error) {
	var told error
	var refused Caller
	toldSent := false
	for _, way := range r.Ways {
		caller, err := a.by(ctx, way, r)
		if err == nil || isRejection(err) {
			a.recent.note(credential(way, r), err == nil)
		}
		if err == nil && caller.Team.Banned {
			err = shoal.ErrForbidden.New("team is banned")
		}
		if err == nil || shoal.ErrForbidden.Matches(err) || !isRejection(err) {
			return caller, err
		}
		if sent := wasSent(way, r); told == nil || sent && !toldSent {
			told, refused, toldSent = err, caller, sent
		}
	}
	return refused, told
}

func (a *Authenticator) by(ctx context.Context, way Way, r Request) (Caller, error) {
	switch way {
	case ByKey:
		return a.byKey(ctx, r.Header.Get(HeaderAPIKey))
	case ByMember:
		return a.byMember(ctx, r)
	case ByAdminForTeam:
		return a.byAdminForTeam(ctx, r.Header)
	case ByAccessToken:
		return a.byAccessToken(ctx, r)
	case ByUser:
		return a.byUser(ctx, r)
	default:
		return a.byAdmin(r.Header)
	}
}

// isRejection reports whether an error speaks of a credential, so that another one may do.
func isRejection(err error) bool {
	kind := shoal.AsError(err).Kind
	return kind.Status >= 400 && kind.Status < 500
}

// wasSent reports whether a request has the credential of a way. Two kinds share the header of
// bearer tokens; their prefix tells them apart where a route takes both.
func wasSent(way Way, r Request) bool {
	bearer := r.Header.Get(HeaderBearer)
	takes := func(ways ...Way) bool {
		return slices.ContainsFunc(ways, func(w Way) bool { return slices.Contains(r.Ways, w) })
	}
	switch way {
	case ByKey:
		return r.Header.Get(HeaderAPIKey) != ""
	case ByAdmin, ByAdminForTeam:
		return r.Header.Get(HeaderAdminToken) != ""
	case ByAccessToken:
		return bearer != "" && (isAccessToken(bearer) || !takes(ByUser, ByMember))
	default:
		return bearer != "" && !(isAccessToken(bearer) && takes(ByAccessToken))
	}
}

// The first line of a rejection, which depends on the way (api.md §2.3).
const (
	keyRejected       = "Invalid API key, please visit https://e2b.dev/docs/api-key for more information."
	tokenRejected     = "Invalid Access token, try to login again by running `e2b auth login`."
	jwtRejected       = "Invalid auth provider token."
	jwtTeamRejected   = "Invalid auth provider token teamID."
	adminRejected     = "Invalid Access token."
	adminTeamRejected = "Invalid admin token teamID."

	headerMissing   = "authorization header is missing"
	headerMalformed = "authorization header is malformed"
)

func rejected(firstLine, detail string) *shoal.Error {
	return shoal.ErrUnauthorized.New("%s\n%s", firstLine, detail)
}
