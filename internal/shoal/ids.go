// Package shoal is the domain: identifiers, sandboxes, templates, teams and
// the catalogue of errors a user can meet. It imports no other Shoal package.
package shoal

import (
	"crypto/rand"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

const idAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

// ClientID is the constant that E2B clients still require in every sandbox
// object. Old SDKs append it to the sandbox ID with a dash.
const ClientID = "6532622b"

var idPart = regexp.MustCompile(`^[a-z0-9]+$`)

// NewSandboxID returns "i" and 20 random characters of [a-z0-9]. It fits a DNS
// label, so it never contains a dash.
func NewSandboxID() string { return "i" + randomID(20) }

// NewTemplateID returns 20 random characters of [a-z0-9].
func NewTemplateID() string { return randomID(20) }

// NewBuildID returns a random UUID.
func NewBuildID() string { return uuid.NewString() }

// NewExecutionID returns a random UUID.
func NewExecutionID() string { return uuid.NewString() }

// NewEventID returns a random UUID.
func NewEventID() string { return uuid.NewString() }

// NewWebhookID returns a random UUID.
func NewWebhookID() string { return uuid.NewString() }

// NewDeliveryID returns a random UUID.
func NewDeliveryID() string { return uuid.NewString() }

// NewRequestID returns a random UUID.
func NewRequestID() string { return uuid.NewString() }

// ParseSandboxID takes the short form or the legacy <sandboxID>-<clientID> form
// and returns the short form. Anything else is ErrInvalidSandboxID.
func ParseSandboxID(s string) (string, error) {
	id, client, legacy := strings.Cut(s, "-")
	if !idPart.MatchString(id) || (legacy && !idPart.MatchString(client)) {
		return "", ErrInvalidSandboxID.New("Invalid sandbox ID")
	}
	return id, nil
}

// randomID draws without modulo bias: 252 is the largest multiple of 36 in a byte.
func randomID(n int) string {
	out := make([]byte, 0, n)
	buf := make([]byte, 2*n)
	for len(out) < n {
		rand.Read(buf)
		for _, b := range buf {
			if b < 252 && len(out) < n {
				out = append(out, idAlphabet[b%36])
			}
		}
	}
	return string(out)
}
