package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

const (
	// SessionTime is how long a session lasts, and SessionIdle how long it lasts without use.
	SessionTime = 7 * 24 * time.Hour
	SessionIdle = 12 * time.Hour
	// touchTime is the least time between two writes of a session's last use.
	touchTime = 5 * time.Minute

	// HeaderCSRF carries what only pages of the API's own origin know.
	HeaderCSRF = "X-Shoal-CSRF"
)

// Session is somebody signed in by a browser.
type Session struct {
	User   shoal.User
	secret string
}

// CSRF is what forms and scripts of the session send, to show that they are of the same origin.
func (s Session) CSRF() string {
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write([]byte("csrf"))
	return hex.EncodeToString(mac.Sum(nil))
}

// Actor is what the audit log says of who is signed in.
func (s Session) Actor() shoal.Actor { return PersonActor(s.User) }

// PersonActor is what it says of a person.
func PersonActor(u shoal.User) shoal.Actor {
	return shoal.Actor{Kind: shoal.ActorUser, ID: u.ID, UserID: u.ID, Name: u.Email}
}

// begin makes a session and returns its secret.
func (a *Authenticator) begin(ctx context.Context, userID string) (string, error) {
	secret := randomHex(secretBytes)
	return secret, a.store.AddSession(ctx, hashText(secret), userID, a.now().UTC().Truncate(time.Microsecond))
}

// SignOut ends a session, if there is one.
func (a *Authenticator) SignOut(ctx context.Context, s Session) error {
	if s.secret == "" {
		return nil
	}
	err := a.store.DeleteSession(ctx, hashText(s.secret))
	a.forget(ctx, a.sessions)
	return err
}

// ErrNoSession means that a request has no session, or one that has ended.
var ErrNoSession = errors.New("no session")

// SessionOf returns the session of a request's cookie. Whether the request was sent by a page of
// the same origin, the caller must check.
func (a *Authenticator) SessionOf(ctx context.Context, h http.Header, secure bool) (Session, error) {
	secret := sessionSecret(h, secure)
	if secret == "" {
		return Session{}, ErrNoSession
	}
	hash := hashText(secret)
	known, err := a.sessions.get(hash, func() (store.Session, error) { return a.store.Session(ctx, hash) })
	if errors.Is(err, store.ErrNotFound) {
		return Session{}, ErrNoSession
	}
	if err != nil {
		return Session{}, shoal.ErrInternal.Wrap(err, "Error while finding the session")
	}
	now := a.now()
	if now.Sub(known.CreatedAt) >= SessionTime || now.Sub(known.UsedAt) >= SessionIdle {
		return Session{}, ErrNoSession
	}
	if now.Sub(known.UsedAt) >= touchTime {
		if err := a.store.TouchSession(ctx, hash, now); err != nil {
			return Session{}, shoal.ErrInternal.Wrap(err, "Error while noting the use of the session")
		}
	}
	return Session{User: known.User, secret: secret}, nil
}

func sessionSecret(h http.Header, secure bool) string {
	r := http.Request{Header: h}
	cookie, err := r.Cookie(cookieName(secure))
	if err != nil || len(cookie.Value) != 2*secretBytes {
		return ""
	}
	return cookie.Value
}

func cookieName(secure bool) string {
	if secure {
		return shoal.SecurePrefix + shoal.SessionCookie
	}
	return shoal.SessionCookie
}

// Cookie returns the cookie that keeps a session's secret in a browser, or that removes it if the
// secret is "".
func Cookie(secret string, secure bool) *http.Cookie {
	c := &http.Cookie{Name: cookieName(secure), Value: secret, Path: "/", HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteLaxMode, MaxAge: int(SessionTime / time.Second)}
	if secret == "" {
		c.MaxAge = -1
	}
	return c
}

// bySession lets in who is signed in, if a page of the API's own origin sends the request. Pages of
// sandboxes may be of the same site, so cookies alone say nothing.
func (a *Authenticator) bySession(ctx context.Context, r Request) (Caller, error) {
	s, err := a.SessionOf(ctx, r.Header, r.Secure)
	if err != nil {
		return Caller{}, err
	}
	if r.Header.Get("Sec-Fetch-Site") != "same-origin" && !Equal(r.Header.Get(HeaderCSRF), s.CSRF()) {
		return Caller{}, ErrNoSession
	}
	return Caller{User: s.User, Actor: s.Actor(), rights: aloneRights}, nil
}

// hashText is what is stored of a random secret.
func hashText(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
