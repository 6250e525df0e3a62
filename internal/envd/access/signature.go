package access

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The operations that a signed file URL can allow.
const (
	OperationRead  = "read"
	OperationWrite = "write"
)

// Why CheckFile refused. Clients compare the texts of the last two
// (envd.md §3.2).
var (
	ErrTokenWrong       = errors.New("the access token is wrong")
	ErrSignatureMissing = errors.New("the request needs the access token or a signature")
	ErrSignatureInvalid = errors.New("invalid signature")
	ErrSignatureExpired = errors.New("signature is already expired")
)

// ErrExpiration says that signature_expiration is not a number.
var ErrExpiration = errors.New("signature_expiration is not an integer")

// Expiration reads the Unix seconds of signature_expiration; nil means absent.
func Expiration(query url.Values) (*int64, error) {
	if !query.Has("signature_expiration") {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(query.Get("signature_expiration"), 10, 64)
	if err != nil {
		return nil, ErrExpiration
	}
	return &seconds, nil
}

// CheckFile authorizes a request to /files by its token or, if it has none, by
// the signature in its query.
func (t *Token) CheckFile(r *http.Request, query url.Values, operation string, expiration *int64, now time.Time) error {
	if !t.Required() {
		return nil
	}
	if token := r.Header.Get(TokenHeader); token != "" {
		if !t.Matches(token) {
			return ErrTokenWrong
		}
		return nil
	}
	signature := query.Get("signature")
	if signature == "" {
		return ErrSignatureMissing
	}
	want := sign(query.Get("path"), operation, query.Get("username"), t.get(), expiration)
	if !equal(signature, want) {
		return ErrSignatureInvalid
	}
	if expiration != nil && *expiration < now.Unix() {
		return ErrSignatureExpired
	}
	return nil
}

// sign covers the path as the client sent it, before it is resolved.
func sign(path, operation, user, token string, expiration *int64) string {
	raw := path + ":" + operation + ":" + user + ":" + token
	if expiration != nil {
		raw += ":" + strconv.FormatInt(*expiration, 10)
	}
	sum := sha256.Sum256([]byte(raw))
	return "v1_" + base64.RawStdEncoding.EncodeToString(sum[:])
}
