package guest

import (
	"crypto/rand"
	"encoding/hex"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
)

// claim is how the host proves to a guest that was started before it was known for which
// sandbox that it may tell it: by a secret that the guest was started with the hash of.
// The zero value is that of a guest which knows whose it is.
type claim struct {
	secret string
	// line is a connection that was made ahead of the claim; nil if there is none.
	line *client.Client
}

func newClaim() claim {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return claim{secret: hex.EncodeToString(b[:])}
}

func (c *claim) hash() string {
	if c.secret == "" {
		return ""
	}
	return envdapi.BootHash(c.secret)
}

// hangUp closes the connection, which must not outlive the guest at its address.
func (c *claim) hangUp() {
	if c.line != nil {
		c.line.Close()
		c.line = nil
	}
}
