package keyring

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// Local is a key that is made from a secret of the settings.
type Local struct {
	id  string
	key []byte
	// first and firstID are how versions before envelopes sealed with the same secret.
	first   []byte
	firstID string
}

var _ Key = (*Local)(nil)

// NewLocal returns the key of a secret, which may be any text.
func NewLocal(secret string) (*Local, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "shoal data keys", dataKeyLength)
	if err != nil {
		return nil, fmt.Errorf("derive the key of sealed values: %w", err)
	}
	first, err := hkdf.Key(sha256.New, []byte(secret), nil, "shoal webhook secrets", dataKeyLength)
	if err != nil {
		return nil, fmt.Errorf("derive the key of sealed values: %w", err)
	}
	id, firstID := sha256.Sum256(key), sha256.Sum256(first)
	return &Local{id: hex.EncodeToString(id[:IDLength/2]), key: key,
		first: first, firstID: hex.EncodeToString(firstID[:4])}, nil
}

// ID implements Key.
func (k *Local) ID() string { return k.id }

// Wrap implements Key.
func (k *Local) Wrap(_ context.Context, about string, dataKey []byte) ([]byte, error) {
	return encrypt(k.key, about, dataKey)
}

// Unwrap implements Key.
func (k *Local) Unwrap(_ context.Context, about string, wrapped []byte) ([]byte, error) {
	dataKey, err := decrypt(k.key, about, wrapped)
	if err != nil {
		return nil, ErrNoKey
	}
	return dataKey, nil
}

const (
	// firstMark begins what was sealed before there were data keys: without one, by a local key.
	firstMark = "sealed:1:"
	firstText = 2 + 256 // how long its values were made
)

// OfFirstVersion reports whether a value was sealed before there were data keys.
func OfFirstVersion(sealed string) bool { return strings.HasPrefix(sealed, firstMark) }

func (r *Ring) openFirst(about, sealed string) ([]byte, error) {
	id, encoded, _ := strings.Cut(strings.TrimPrefix(sealed, firstMark), ":")
	data, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, ErrNoKey
	}
	r.mu.RLock()
	keys := r.keys
	r.mu.RUnlock()
	for _, key := range keys {
		local, ok := key.(*Local)
		if !ok || local.firstID != id {
			continue
		}
		text, err := decrypt(local.first, about, data)
		if err != nil || len(text) != firstText {
			return nil, ErrNoKey
		}
		n := binary.BigEndian.Uint16(text)
		if int(n) > len(text)-2 {
			return nil, ErrNoKey
		}
		return text[2 : 2+n], nil
	}
	return nil, ErrNoKey
}
