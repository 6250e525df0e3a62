package auth

import (
	"crypto/subtle"
	"net/http"
	"net/url"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

// FileOwner returns the ID of the sandbox whose token signed a file URL. On a shared
// address such a URL does not name its sandbox, but only that sandbox's token produces
// the signature.
func FileOwner(list []shoal.Sandbox, method string, query url.Values) (string, error) {
	operation := envdapi.OperationRead
	if method == http.MethodPost {
		operation = envdapi.OperationWrite
	}
	got := []byte(query.Get("signature"))
	for _, sb := range list {
		if sb.EnvdAccessToken == "" {
			continue
		}
		want := envdapi.FileSignature(query.Get("path"), operation, query.Get("username"), sb.EnvdAccessToken,
			query.Get("signature_expiration"))
		if subtle.ConstantTimeCompare(got, []byte(want)) == 1 {
			return sb.SandboxID, nil
		}
	}
	return "", shoal.ErrSandboxNotFound.New("no sandbox's token made this signature")
}
