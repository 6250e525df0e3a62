package guest

import (
	"crypto/rand"
	"encoding/hex"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
)

// claim is how the host proves that it speaks to a guest that was started ahead: the guest
// accepts its identity only with a secret, whose hash it got when it started. The zero
// value is that of a guest whose identity was known at its start.
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
