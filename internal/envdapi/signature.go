package envdapi

import (
	"crypto/sha256"
	"encoding/base64"
)

// The operations that a signed file URL can allow.
const (
	OperationRead  = "read"
	OperationWrite = "write"
)

// FileSignature is what clients put into a signed file URL (envd.md §3.2). Operation is
// OperationRead or OperationWrite; user and expiration, in Unix seconds, are "" when the URL
// has none.
func FileSignature(path, operation, user, token, expiration string) string {
	raw := path + ":" + operation + ":" + user + ":" + token
	if expiration != "" {
		raw += ":" + expiration
	}
	sum := sha256.Sum256([]byte(raw))
	return "v1_" + base64.RawStdEncoding.EncodeToString(sum[:])
}
