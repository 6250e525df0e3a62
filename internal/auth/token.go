package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strconv"
)

// Tokens derives the access tokens of sandboxes from a seed and the sandbox ID. They stay
// the same after a resume and need not be stored (api.md §4.1).
type Tokens struct{ seed []byte }

// NewTokens derives tokens from a seed. Changing the seed invalidates all tokens.
func NewTokens(seed string) Tokens { return Tokens{seed: []byte(seed)} }

// Envd returns the token of a sandbox's daemon (header X-Access-Token).
func (t Tokens) Envd(sandboxID string) string { return t.derive(sandboxID) }

// Traffic returns the token that requests to a private sandbox's ports must
// carry (header e2b-traffic-access-token).
func (t Tokens) Traffic(sandboxID string) string { return t.derive("sandbox-traffic-" + sandboxID) }

// Upload returns the token of an upload link. It allows writing to one path until expires,
// in Unix seconds (templates.md §1.7).
func (t Tokens) Upload(path string, expires int64) string {
	return t.derive("template-upload\x00" + path + "\x00" + strconv.FormatInt(expires, 10))
}

func (t Tokens) derive(message string) string {
	mac := hmac.New(sha256.New, t.seed)
	mac.Write([]byte(message))
	return hex.EncodeToString(mac.Sum(nil))
}

// Equal compares two secrets in constant time. It is false if either is empty.
func Equal(a, b string) bool {
	// Hashing hides the lengths, which ConstantTimeCompare would reveal.
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1 && a != "" && b != ""
}
