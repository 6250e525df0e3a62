package access

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/envdapi"
)

// FuzzSignature holds a signed file URL to open what was signed, until it expires, and
// nothing else; and the node to find the sandbox whose token signed it.
func FuzzSignature(f *testing.F) {
	f.Add("hello.txt", "", "token", int64(0), false)
	f.Add("a:read:b", "c", "token", int64(1<<40), true)
	f.Add("", "user:read", "t", int64(-1), true)
	f.Add("/a/../b", "root", "x", int64(1_700_000_000), true)
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, path, user, secret string, seconds int64, expires bool) {
		// Tokens are letters and digits; a colon would be taken for the scheme's own.
		secret = envdapi.BootHash(secret)
		query := url.Values{"path": {path}, "username": {user}}
		expiration := ""
		if expires {
			expiration = strconv.FormatInt(seconds, 10)
			query.Set("signature_expiration", expiration)
		}
		query.Set("signature", envdapi.FileSignature(path, envdapi.OperationRead, user, secret, expiration))
		check := func(query url.Values, operation, secret string) error {
			var token Token
			token.Set(secret)
			at, err := Expiration(query)
			if err != nil {
				return err
			}
			return token.CheckFile(&http.Request{}, query, operation, at, now)
		}
		var want error
		if expires && seconds < now.Unix() {
			want = ErrSignatureExpired
		}
		if err := check(query, envdapi.OperationRead, secret); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", query, err, want)
		}
		for what, err := range map[string]error{
			"another operation":  check(query, envdapi.OperationWrite, secret),
			"another token":      check(query, envdapi.OperationRead, secret+"0"),
			"another path":       check(with(query, "path", path+"x"), envdapi.OperationRead, secret),
			"another user":       check(with(query, "username", user+"x"), envdapi.OperationRead, secret),
			"another expiration": check(with(query, "signature_expiration", strconv.FormatInt(seconds^1, 10)), envdapi.OperationRead, secret),
		} {
			if !errors.Is(err, ErrSignatureInvalid) {
				t.Errorf("%v: %s is answered by %v", query, what, err)
			}
		}
		list := maps.All(map[string]string{"open": "", "other": secret + "0", "signer": secret})
		if id, err := auth.FileOwner(list, http.MethodGet, query); id != "signer" {
			t.Errorf("%v was signed by %q (%v)", query, id, err)
		}
		if id, err := auth.FileOwner(list, http.MethodPost, query); err == nil {
			t.Errorf("%v allows %q a write", query, id)
		}
	})
}

// with is the query with one value replaced.
func with(query url.Values, key, value string) url.Values {
	changed := url.Values{key: {value}}
	for k, v := range query {
		if k != key {
			changed[k] = v
		}
	}
	return changed
}
