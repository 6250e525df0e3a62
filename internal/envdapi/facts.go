package envdapi

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"strings"
)

// The variables that say which sandbox a guest is. The first five are in the environment of
// the guest's first process, where nobody in the guest can change them; that of the boot
// hash is Shoal's own. Commands get the first three and the last (envd.md §4.1).
const (
	SandboxVariable    = "E2B_SANDBOX" // "true"
	SandboxIDVariable  = "E2B_SANDBOX_ID"
	TemplateIDVariable = "E2B_TEMPLATE_ID"
	TokenHashVariable  = "E2B_ACCESS_TOKEN_HASH"
	BootHashVariable   = "SHOAL_BOOT_HASH"
	EventsVariable     = "E2B_EVENTS_ADDRESS" // the URL of the node, once Init has named it
)

// EnvironmentFile is where the first program of a microVM writes the first process's environment, as it is since
// the machine came back: entries that end with NUL. In one that was booted it is not there.
const EnvironmentFile = "/dev/shoal/environment"

// Facts are what the node states about a sandbox in the environment of the guest's first
// process. An empty string states nothing.
type Facts struct {
	Sandbox    string
	SandboxID  string
	TemplateID string
	// TokenHash authorizes the daemon to take a token, or none, that it does not know
	// yet (envd.md §3.3).
	TokenHash string
	// BootHash is set in a guest that was started before it was known for which sandbox.
	// Whoever sends the secret that it is the hash of may say so, in Init.
	BootHash string
}

// Environ returns the variables that state the facts, as "KEY=value".
func (f Facts) Environ() []string {
	var env []string
	for _, v := range []struct{ key, value string }{
		{SandboxVariable, f.Sandbox},
		{SandboxIDVariable, f.SandboxID},
		{TemplateIDVariable, f.TemplateID},
		{TokenHashVariable, f.TokenHash},
		{BootHashVariable, f.BootHash},
	} {
		if v.value != "" {
			env = append(env, v.key+"="+v.value)
		}
	}
	return env
}

// ReadFacts returns what an environment states; lookup returns "" for a variable that is
// not set.
func ReadFacts(lookup func(key string) string) Facts {
	return Facts{
		Sandbox:    lookup(SandboxVariable),
		SandboxID:  lookup(SandboxIDVariable),
		TemplateID: lookup(TemplateIDVariable),
		TokenHash:  strings.ToLower(lookup(TokenHashVariable)),
		BootHash:   strings.ToLower(lookup(BootHashVariable)),
	}
}

// TokenHash is the SHA-512 of an access token, or of "" for none, in lower-case hex. It
// reaches the guest outside of the guest's own network.
func TokenHash(token string) string {
	sum := sha512.Sum512([]byte(token))
	return hex.EncodeToString(sum[:])
}

// BootHash is the SHA-256 of the secret of a guest that is started ahead, in lower-case
// hex.
func BootHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
