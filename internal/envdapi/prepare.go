package envdapi

import (
	"crypto/sha256"
	"encoding/hex"
)

// Prepared is the answer to POST /prepare, by which a build has the daemon do what an init
// system would do on what the steps have installed.
type Prepared struct {
	// Run are names below /run, relative to it, that the template's guests shall begin with:
	// directories, links and files for which packages ask. MaxPrepared bounds them.
	Run []string `json:"run"`
}

// MaxPrepared bounds the sum of the lengths of names in a Prepared, in bytes.
const MaxPrepared = 32 << 10

// MachineID is what the daemon writes to /etc/machine-id if nobody else has: 32 hexadecimal
// digits that are always the same for a sandbox, or for a template while it is being built.
func MachineID(of string) string {
	sum := sha256.Sum256([]byte("machine-id of " + of))
	return hex.EncodeToString(sum[:16])
}
