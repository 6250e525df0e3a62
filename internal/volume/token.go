package volume

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// TokenTime is how long a token is good for.
const TokenTime = time.Hour

// tokenLeeway is how far clocks of several apis may differ.
const tokenLeeway = 30 * time.Second

// Grant is what a token lets its bearer do.
type Grant struct {
	TeamID   string
	VolumeID string
	Backend  string
	ReadOnly bool
}

// claims are a token's (runtime.md §5.1), and whether it is only for reading.
type claims struct {
	jwt.Claims
	TeamID   string `json:"teamid"`
	VolumeID string `json:"volid"`
	Backend  string `json:"voltype"`
	ReadOnly bool   `json:"readonly,omitempty"`
}

// Signer makes and checks tokens for the content of volumes, by a key that all apis of an installation
// derive from one secret.
type Signer struct {
	key    *ecdsa.PrivateKey
	id     string // of the key
	issuer string
}

// NewSigner derives the key. issuer is who the tokens say has made them.
func NewSigner(secret, issuer string) (*Signer, error) {
	key, err := deriveKey(secret)
	if err != nil {
		return nil, fmt.Errorf("derive the key of volume tokens: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(public)
	return &Signer{key: key, id: hex.EncodeToString(sum[:8]), issuer: issuer}, nil
}

// deriveKey takes more bytes than a key has, so that all keys are about as likely.
func deriveKey(secret string) (*ecdsa.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, []byte(secret), nil, "shoal volume tokens", 48)
	if err != nil {
		return nil, err
	}
	curve := elliptic.P256()
	most := new(big.Int).Sub(curve.Params().N, big.NewInt(1))
	scalar := new(big.Int).Mod(new(big.Int).SetBytes(seed), most)
	return ecdsa.ParseRawPrivateKey(curve, scalar.Add(scalar, big.NewInt(1)).FillBytes(make([]byte, 32)))
}

// Sign makes a token for an audience.
func (s *Signer) Sign(g Grant, audience string, now time.Time) (string, error) {
	id := rand.Text()
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", s.id).WithHeader("tokid", id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, options)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims{Claims: jwt.Claims{Issuer: s.issuer, Audience: jwt.Audience{audience},
		Subject: g.TeamID, ID: id, IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
		Expiry: jwt.NewNumericDate(now.Add(TokenTime))},
		TeamID: g.TeamID, VolumeID: g.VolumeID, Backend: g.Backend, ReadOnly: g.ReadOnly}).Serialize()
}

// Check returns what a token lets its bearer do.
func (s *Signer) Check(token string, now time.Time) (Grant, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return Grant{}, err
	}
	var c claims
	if err := parsed.Claims(&s.key.PublicKey, &c); err != nil {
		return Grant{}, err
	}
	err = c.ValidateWithLeeway(jwt.Expected{Issuer: s.issuer, Time: now}, tokenLeeway)
	if err == nil && (c.VolumeID == "" || c.TeamID == "" || c.Subject != c.TeamID || c.Expiry == nil) {
		err = errors.New("the token lacks a claim")
	}
	return Grant{TeamID: c.TeamID, VolumeID: c.VolumeID, Backend: c.Backend, ReadOnly: c.ReadOnly}, err
}
