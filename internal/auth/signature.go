package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"

	"shoal/internal/shoal"
)

// FileSignature is what clients put into a signed file URL (envd.md §3.2).
// Operation is read or write; user and expiration are "" when the URL has none.
func FileSignature(path, operation, user, token, expiration string) string {
	raw := path + ":" + operation + ":" + user + ":" + token
	if expiration != "" {
		raw += ":" + expiration
	}
	sum := sha256.Sum256([]byte(raw))
	return "v1_" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// FileOwner finds among sandboxes the one whose token signed a file URL. Such a
// URL on a shared address names no sandbox, but only one token can have made it.
func FileOwner(list []shoal.Sandbox, method string, query url.Values) (string, error) {
	operation := "read"
	if method == http.MethodPost {
		operation = "write"
	}
	got := []byte(query.Get("signature"))
	for _, sb := range list {
		if sb.EnvdAccessToken == "" {
			continue
		}
		want := FileSignature(query.Get("path"), operation, query.Get("username"), sb.EnvdAccessToken, query.Get("signature_expiration"))
		if subtle.ConstantTimeCompare(got, []byte(want)) == 1 {
			return sb.SandboxID, nil
		}
	}
	return "", shoal.ErrSandboxNotFound.New("no sandbox's token made this signature")
}
