package access

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"shoal/internal/envdapi"
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
func (t *Token) CheckFile(r *http.Request, query url.Values, operation string, expiration *int64,
	now time.Time) error {
	if !t.Required() {
		return nil
	}
	if token := r.Header.Get(envdapi.TokenHeader); token != "" {
		if !t.Matches(token) {
			return ErrTokenWrong
		}
		return nil
	}
	signature := query.Get("signature")
	if signature == "" {
		return ErrSignatureMissing
	}
	expires := ""
	if expiration != nil {
		expires = strconv.FormatInt(*expiration, 10)
	}
	// The path is signed as the client sent it, before it is resolved.
	want := envdapi.FileSignature(query.Get("path"), operation, query.Get("username"), t.get(), expires)
	if !equal(signature, want) {
		return ErrSignatureInvalid
	}
	if expiration != nil && *expiration < now.Unix() {
		return ErrSignatureExpired
	}
	return nil
}
