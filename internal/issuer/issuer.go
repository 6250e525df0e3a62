// Package issuer knows who vouches for users: OpenID Connect providers, whose tokens (JWTs) it
// checks by the keys that they publish (api.md §2.1).
package issuer

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"shoal/internal/shoal"
)

// maxToken bounds a token, in bytes. Those of large providers have up to 4 KiB.
const maxToken = 16 << 10

// leeway is how far an issuer's clock may be from ours.
const leeway = 10 * time.Second

// algorithms are those of key pairs. Whoever may read an issuer's keys must not be able to sign,
// so neither a shared secret nor "none" will do.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384,
	jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// Config is one issuer.
type Config struct {
	// URL is the issuer's name, as the claim "iss" has it.
	URL string
	// Discovery is where the issuer describes itself; "" is its well-known address.
	Discovery string
	// Audiences are those of whose tokens any is accepted.
	Audiences []string
}

// discovery is where the issuer describes itself.
func (c Config) discovery() string {
	if c.Discovery != "" {
		return c.Discovery
	}
	return strings.TrimSuffix(c.URL, "/") + "/.well-known/openid-configuration"
}

// Issuers are those that an installation trusts.
type Issuers struct {
	byURL map[string]trusted
	now   func() time.Time
	log   *slog.Logger
}

type trusted struct {
	audiences jwt.Audience
	keys      *keys
}

// New returns the issuers of a list. They are asked for their keys by the transport, when a
// token of theirs is first seen.
func New(list []Config, transport http.RoundTripper, log *slog.Logger) *Issuers {
	s := &Issuers{byURL: map[string]trusted{}, now: time.Now, log: log}
	client := &http.Client{Transport: transport, CheckRedirect: keepEncrypted}
	for _, c := range list {
		s.byURL[c.URL] = trusted{c.Audiences, newKeys(c, client, func() time.Time { return s.now() })}
	}
	return s
}

// keepEncrypted refuses redirects out of https, where anybody could answer. How many there may be
// is the transport's business.
func keepEncrypted(r *http.Request, via []*http.Request) error {
	if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("a redirect leads out of https")
	}
	return nil
}

// refusal is what is wrong with a token, as a sentence for who sent it.
type refusal string

// Error returns the sentence.
func (r refusal) Error() string { return string(r) }

const (
	errForm      refusal = "The bearer token is not a signed token that this installation reads"
	errIssuer    refusal = "The installation does not trust the token's issuer"
	errKeys      refusal = "The keys of the token's issuer cannot be had at the moment"
	errSignature refusal = "The token is not signed by a key that its issuer has published"
	errAudience  refusal = "The token is for another audience"
	errExpired   refusal = "The token has expired"
	errEndless   refusal = "The token does not say when it expires"
	errEarly     refusal = "The token is not valid yet"
	errSubject   refusal = "The token does not say whom it is about"
)

// Verify checks a token and returns whom it is about. The text of its errors is for who sent it.
func (s *Issuers) Verify(ctx context.Context, token string) (shoal.Identity, error) {
	return s.verify(ctx, token)
}

// verify is Verify, and reads further claims of the token.
func (s *Issuers) verify(ctx context.Context, token string, further ...any) (shoal.Identity, error) {
	if len(token) > maxToken {
		return shoal.Identity{}, errForm
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return shoal.Identity{}, errForm
	}
	var claimed jwt.Claims // by whoever wrote the token
	if err := parsed.UnsafeClaimsWithoutVerification(&claimed); err != nil {
		return shoal.Identity{}, errForm
	}
	issuer, ok := s.byURL[claimed.Issuer]
	if !ok {
		return shoal.Identity{}, errIssuer
	}
	claims, err := s.checkSignature(ctx, issuer, parsed, further)
	if err != nil {
		return shoal.Identity{}, err
	}
	if err := s.checkClaims(issuer, claimed.Issuer, claims); err != nil {
		return shoal.Identity{}, err
	}
	return shoal.Identity{Issuer: claims.Issuer, Subject: claims.Subject}, nil
}

func (s *Issuers) checkSignature(
	ctx context.Context, issuer trusted, token *jwt.JSONWebToken, further []any,
) (jwt.Claims, error) {
	header := token.Headers[0]
	candidates, err := issuer.keys.find(ctx, header.KeyID)
	if err != nil {
		s.log.Warn("an issuer's keys cannot be had", "issuer", issuer.keys.cfg.URL, "error", err)
		return jwt.Claims{}, errKeys
	}
	for _, key := range candidates {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		var claims jwt.Claims
		if token.Claims(key.Key, append([]any{&claims}, further...)...) == nil {
			return claims, nil
		}
	}
	return jwt.Claims{}, errSignature
}

func (s *Issuers) checkClaims(issuer trusted, url string, claims jwt.Claims) error {
	if claims.Expiry == nil {
		return errEndless
	}
	err := claims.ValidateWithLeeway(
		jwt.Expected{Issuer: url, AnyAudience: issuer.audiences, Time: s.now()}, leeway)
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return errExpired
	case errors.Is(err, jwt.ErrInvalidAudience):
		return errAudience
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return errEarly
	case err != nil:
		return errForm
	case claims.Subject == "":
		return errSubject
	}
	return nil
}
