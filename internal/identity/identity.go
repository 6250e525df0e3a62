// Package identity vouches for sandboxes: it signs short-lived tokens (JWT-SVIDs) that say which
// sandbox, template and team somebody is, and publishes the keys for checking them.
package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

const (
	// tokenTime is how long a token is valid.
	tokenTime = 5 * time.Minute
	// signTime is how long a key signs. The next one is published aheadTime before, as verifiers
	// keep what they have read, and a former one is published for as long after.
	signTime  = 30 * 24 * time.Hour
	aheadTime = 24 * time.Hour
	// readTime is how long the keys are taken from memory.
	readTime = time.Minute
)

// Store keeps the keys.
type Store interface {
	IdentityKeys(ctx context.Context) ([]store.IdentityKey, error)
	AddIdentityKey(ctx context.Context, key store.IdentityKey) error
	RemoveIdentityKey(ctx context.Context, id string) error
}

// Issuer signs for one installation. It is safe for concurrent use.
type Issuer struct {
	store       Store
	url         string
	trustDomain string
	now         func() time.Time

	reading sync.Mutex // held while the keys are read or made, so that one caller does it for all
	mu      sync.Mutex // guards the rest
	keys    []key
	read    time.Time
}

// key is one of the store as it is used.
type key struct {
	store.IdentityKey
	public jose.JSONWebKey
	signer jose.Signer // nil if no key of the installation opens it
}

// New returns the issuer of an installation, by the URL of its API and the name of its trust domain.
func New(keys Store, url, trustDomain string) *Issuer {
	return &Issuer{store: keys, url: url, trustDomain: trustDomain, now: time.Now}
}

// URL is the issuer's name in tokens. What verifiers need to know is below it.
func (i *Issuer) URL() string { return i.url }

// claims are those of a token besides the registered ones.
type claims struct {
	jwt.Claims
	Team     string `json:"team"`
	Template string `json:"template"`
	Sandbox  string `json:"sandbox"`
}

// Subject is a sandbox's SPIFFE ID.
func (i *Issuer) Subject(sb shoal.Spec) string {
	return "spiffe://" + i.trustDomain + "/team/" + sb.TeamID + "/template/" + sb.TemplateID + "/sandbox/" + sb.SandboxID
}

// Sign returns a token of a sandbox for an audience.
func (i *Issuer) Sign(ctx context.Context, sb shoal.Spec, audience string) (string, error) {
	keys, err := i.current(ctx)
	if err != nil {
		return "", err
	}
	now := i.now()
	signer := signing(keys, now)
	if signer == nil {
		return "", errors.New("no key signs identities")
	}
	token, err := jwt.Signed(signer.signer).Claims(claims{
		Claims: jwt.Claims{Issuer: i.url, Subject: i.Subject(sb), Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
			Expiry: jwt.NewNumericDate(now.Add(tokenTime)), ID: uuid.NewString()},
		Team: sb.TeamID, Template: sb.TemplateID, Sandbox: sb.SandboxID,
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign a token of sandbox %s: %w", sb.SandboxID, err)
	}
	return token, nil
}

// Keys are what tokens are checked by.
func (i *Issuer) Keys(ctx context.Context) ([]jose.JSONWebKey, error) {
	keys, err := i.current(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]jose.JSONWebKey, len(keys))
	for n, k := range keys {
		list[n] = k.public
	}
	return list, nil
}

// signing is the newest key whose time to sign has come; nil if there is none.
func signing(keys []key, now time.Time) *key {
	for n := len(keys) - 1; n >= 0; n-- {
		if keys[n].signer != nil && !keys[n].SignsFrom.After(now) {
			return &keys[n]
		}
	}
	return nil
}

// current returns the keys, in the order in which they sign.
func (i *Issuer) current(ctx context.Context) ([]key, error) {
	if keys, ok := i.fresh(); ok {
		return keys, nil
	}
	i.reading.Lock()
	defer i.reading.Unlock()
	if keys, ok := i.fresh(); ok {
		return keys, nil
	}
	keys, err := i.renew(ctx)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.read = keys, i.now()
	return keys, nil
}

func (i *Issuer) fresh() ([]key, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys, i.keys != nil && i.now().Sub(i.read) < readTime
}

// renew reads the keys, makes what is missing and removes what nobody needs any more. Two apis may
// make a key each at the same time; both are good.
func (i *Issuer) renew(ctx context.Context) ([]key, error) {
	keys, err := i.load(ctx)
	if err != nil {
		return nil, err
	}
	now := i.now()
	var due *time.Time
	if signing(keys, now) == nil {
		due = &now
	} else if newest := keys[len(keys)-1]; newest.signer == nil || now.Sub(newest.SignsFrom) > signTime-aheadTime {
		at := now.Add(aheadTime)
		due = &at
	}
	if due != nil {
		if err := i.add(ctx, *due); err != nil {
			return nil, err
		}
		if keys, err = i.load(ctx); err != nil {
			return nil, err
		}
	}
	return i.retire(ctx, keys, now)
}

// Rotate makes a key that signs from a day on, after its publication.
func (i *Issuer) Rotate(ctx context.Context) error { return i.add(ctx, i.now().Add(aheadTime)) }

// retire removes the keys whose successor has signed for so long that no token of theirs is valid.
func (i *Issuer) retire(ctx context.Context, keys []key, now time.Time) (kept []key, err error) {
	for n, k := range keys {
		if next := signing(keys[n+1:], now.Add(-aheadTime)); next != nil {
			if err := i.store.RemoveIdentityKey(ctx, k.ID); err != nil {
				return nil, err
			}
			continue
		}
		kept = append(kept, k)
	}
	return kept, nil
}

func (i *Issuer) load(ctx context.Context) ([]key, error) {
	stored, err := i.store.IdentityKeys(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]key, len(stored))
	for n, s := range stored {
		k := key{IdentityKey: s}
		if err := k.public.UnmarshalJSON([]byte(s.Public)); err != nil {
			return nil, fmt.Errorf("read the key %s of identities: %w", s.ID, err)
		}
		if s.Private != "" {
			if k.signer, err = signerOf(s.Private); err != nil {
				return nil, fmt.Errorf("read the key %s of identities: %w", s.ID, err)
			}
			k.Private = ""
		}
		list[n] = k
	}
	return list, nil
}

func signerOf(private string) (jose.Signer, error) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON([]byte(private)); err != nil {
		return nil, errors.New("it is no JWK") // without the text, which is secret
	}
	return jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, (&jose.SignerOptions{}).WithType("JWT"))
}

func (i *Issuer) add(ctx context.Context, signsFrom time.Time) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key of identities: %w", err)
	}
	k := jose.JSONWebKey{Key: private, KeyID: uuid.NewString(), Algorithm: string(jose.ES256), Use: "sig"}
	secret, err := k.MarshalJSON()
	if err != nil {
		return fmt.Errorf("make a key of identities: %w", err)
	}
	public := k.Public()
	open, err := public.MarshalJSON()
	if err != nil {
		return fmt.Errorf("make a key of identities: %w", err)
	}
	return i.store.AddIdentityKey(ctx, store.IdentityKey{ID: k.KeyID, Public: string(open), Private: string(secret),
		CreatedAt: i.now(), SignsFrom: signsFrom})
}
