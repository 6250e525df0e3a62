package auth

import (
	"crypto/subtle"
	"iter"
	"net/http"
	"net/url"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

// FileOwner returns the ID of the sandbox whose token signed a file URL, of those whose IDs and
// tokens are given. On a shared address such a URL does not name its sandbox, but only that
// sandbox's token produces the signature. Whether the URL has expired, the daemon decides.
func FileOwner(tokens iter.Seq2[string, string], method string, query url.Values) (string, error) {
	operation := envdapi.OperationRead
	if method == http.MethodPost {
		operation = envdapi.OperationWrite
	}
	got := []byte(query.Get("signature"))
	path, user, expiration := query.Get("path"), query.Get("username"), query.Get("signature_expiration")
	for id, token := range tokens {
		if token == "" {
			continue
		}
		want := envdapi.FileSignature(path, operation, user, token, expiration)
		if subtle.ConstantTimeCompare(got, []byte(want)) == 1 {
			return id, nil
		}
	}
	return "", shoal.ErrSandboxNotFound.New("no sandbox's token made this signature")
}
