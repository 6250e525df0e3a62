package shoal

import (
	"crypto/rand"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Bounds of secrets (api.md §3.19, runtime.md §5.4), in bytes.
const (
	maxSecretName     = 128
	MaxSecretValue    = 64 << 10
	maxSecretMetadata = 32 // entries
	maxMetadataKey    = 128
	maxMetadataValue  = 1024
	maxMetadataBytes  = 8192 // of all keys and values
)

// secretPrefix begins IDs of secrets, and no name of one.
const secretPrefix = "sec_"

// Secret describes a value that a team keeps for the transforms of its sandboxes. The value itself
// is in no Secret.
type Secret struct {
	ID        string
	TeamID    string
	Name      string // in lower case; unique in the team
	Version   int64  // 1, and one more with each new value
	Metadata  map[string]string
	CreatedAt time.Time
	UpdatedAt time.Time
}

var secretName = regexp.MustCompile(`^[a-z0-9_-]+$`)

// ParseSecretName returns the name as it is kept. ErrSecret if no secret can have it.
func ParseSecretName(name string) (string, error) {
	name = strings.ToLower(name)
	if len(name) > maxSecretName || !secretName.MatchString(name) || strings.HasPrefix(name, secretPrefix) {
		return "", ErrSecret.New("Invalid secrets request").Because(
			"name must have 1 to %d of the characters A-Z, a-z, 0-9, _ and -, and not begin with %s", maxSecretName, secretPrefix)
	}
	return name, nil
}

// CheckSecretValue refuses what no secret can be. The error does not have the value.
func CheckSecretValue(value string) error {
	if value == "" || len(value) > MaxSecretValue || !utf8.ValidString(value) {
		return ErrSecret.New("Invalid secrets request").Because("value must be 1 to %d bytes of text", MaxSecretValue)
	}
	return nil
}

// CheckSecretMetadata refuses what no secret's metadata can be.
func CheckSecretMetadata(metadata map[string]string) error {
	bad := func(format string, args ...any) error {
		return ErrSecret.New("Invalid secrets request").Because(format, args...)
	}
	if len(metadata) > maxSecretMetadata {
		return bad("metadata has %d entries; at most %d are allowed", len(metadata), maxSecretMetadata)
	}
	total := 0
	for key, value := range metadata {
		total += len(key) + len(value)
		switch {
		case key == "" || len(key) > maxMetadataKey:
			return bad("a key of metadata must have 1 to %d bytes", maxMetadataKey)
		case len(value) > maxMetadataValue:
			return bad("a value of metadata has %d bytes; at most %d are allowed", len(value), maxMetadataValue)
		case !utf8.ValidString(key) || !utf8.ValidString(value) || strings.ContainsRune(key+value, 0):
			return bad("metadata must be text")
		}
	}
	if total > maxMetadataBytes {
		return bad("metadata has %d bytes; at most %d are allowed", total, maxMetadataBytes)
	}
	return nil
}

// typeID is the alphabet of TypeIDs, which is Crockford's in lower case.
const typeID = "0123456789abcdefghjkmnpqrstvwxyz"

// NewSecretID returns "sec_" and the 26 characters that TypeIDs have for a UUIDv7; those of later
// secrets are greater.
func NewSecretID() string {
	id, err := uuid.NewV7()
	if err != nil {
		rand.Read(id[:]) // only the order of two secrets of a microsecond depends on it
	}
	return secretPrefix + encodeTypeID(id)
}

// encodeTypeID writes 128 bits by 5 in 26 characters, of which the first has the 3 that are left.
func encodeTypeID(id uuid.UUID) string {
	var out [26]byte
	var bits uint
	var held uint32
	at := len(out) - 1
	for i := len(id) - 1; i >= 0; i-- {
		held |= uint32(id[i]) << bits
		for bits += 8; bits >= 5; bits -= 5 {
			out[at] = typeID[held&31]
			held >>= 5
			at--
		}
	}
	out[at] = typeID[held&31]
	return string(out[:])
}

var secretID = regexp.MustCompile(`^sec_[0-7][` + typeID + `]{25}$`)

// IsSecretID reports whether a text can be the ID of a secret.
func IsSecretID(text string) bool { return secretID.MatchString(text) }
