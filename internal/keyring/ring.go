// Package keyring seals values that Shoal has to know, and not only to compare, before the database
// has them. Each value has a data key of its own, and a key that is not in the database wraps that: one
// of the installation's, or one that only a program of the operator's knows. So whoever reads the
// database or a backup learns nothing, and when the wrapping key is changed, the values stay as they are.
package keyring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Key wraps data keys.
type Key interface {
	// ID names the key in what it has wrapped; it has IDLength characters and tells nothing of it.
	ID() string
	// Wrap and Unwrap take what the data key is for, where the key itself can hold to that.
	Wrap(ctx context.Context, about string, dataKey []byte) ([]byte, error)
	Unwrap(ctx context.Context, about string, wrapped []byte) ([]byte, error)
}

const (
	// mark begins what is sealed, before the ID of the key, the wrapped data key and the value.
	mark = "sealed:2:"
	// IDLength is the length of keys' IDs.
	IDLength = 16
	// HeadLength is the length of what tells the key of a sealed value; see Head.
	HeadLength = len(mark) + IDLength
	// block is what values are filled up to a multiple of, in bytes, so that little shows of their
	// length. A sealed value is always longer than one.
	block = 260
	// dataKeyLength is of AES-256.
	dataKeyLength = 32
)

// Head begins all that the key of an ID has sealed.
func Head(keyID string) string { return mark + keyID }

// ErrNoKey means that a value is sealed by a key that the ring does not have, or is damaged.
var ErrNoKey = errors.New("it is sealed by another key, or damaged")

// Ring has the keys of a process. It is safe for concurrent use.
type Ring struct {
	load func() ([]Key, error)

	mu   sync.RWMutex // guards keys; a leaf
	keys []Key
}

// New returns a ring of the keys that load returns: first the one that is to be used, at least that one.
func New(load func() ([]Key, error)) (*Ring, error) {
	r := &Ring{load: load}
	return r, r.Reload()
}

// Reload has load called again: a key may have been added meanwhile. Keys stay that load does not
// return any more.
func (r *Ring) Reload() error {
	keys, err := r.load()
	if err != nil {
		return fmt.Errorf("load the keys of sealed values: %w", err)
	}
	if len(keys) == 0 {
		return errors.New("there is no key for sealed values")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, old := range r.keys {
		if !slices.ContainsFunc(keys, func(k Key) bool { return k.ID() == old.ID() }) {
			keys = append(keys, old)
		}
	}
	r.keys = keys
	return nil
}

// First is the ID of the key that is to be used.
func (r *Ring) First() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[0].ID()
}

// Has reports whether the ring has a key, also after a look for new ones.
func (r *Ring) Has(id string) bool {
	_, err := r.key(id)
	return err == nil
}

func (r *Ring) key(id string) (Key, error) {
	for range 2 {
		r.mu.RLock()
		i := slices.IndexFunc(r.keys, func(k Key) bool { return k.ID() == id })
		if i >= 0 {
			defer r.mu.RUnlock()
			return r.keys[i], nil
		}
		r.mu.RUnlock()
		if err := r.Reload(); err != nil {
			return nil, err
		}
	}
	return nil, ErrNoKey
}

// Seal seals a value by the key of an ID. It can only be opened for the same thing that it is about.
func (r *Ring) Seal(ctx context.Context, keyID, about string, value []byte) (string, error) {
	key, err := r.key(keyID)
	if err != nil {
		return "", err
	}
	dataKey := make([]byte, dataKeyLength)
	rand.Read(dataKey)
	text, err := encrypt(dataKey, about, padded(value))
	if err != nil {
		return "", err
	}
	return seal(ctx, key, about, dataKey, encode(text))
}

// seal puts together a wrapped data key and what it has encrypted.
func seal(ctx context.Context, key Key, about string, dataKey []byte, text string) (string, error) {
	wrapped, err := key.Wrap(ctx, about, dataKey)
	if err != nil {
		return "", fmt.Errorf("wrap a data key: %w", err)
	}
	return Head(key.ID()) + ":" + encode(wrapped) + ":" + text, nil
}

// Open returns a sealed value. ErrNoKey if it cannot be opened, for whatever reason.
func (r *Ring) Open(ctx context.Context, about, sealed string) ([]byte, error) {
	if strings.HasPrefix(sealed, firstMark) {
		return r.openFirst(about, sealed)
	}
	dataKey, text, err := r.unwrap(ctx, about, sealed)
	if err != nil {
		return nil, err
	}
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, ErrNoKey
	}
	value, err := decrypt(dataKey, about, data)
	if err != nil {
		return nil, ErrNoKey
	}
	return unpadded(value)
}

// Rewrap has the key of an ID wrap the data key of a sealed value, which stays as it is.
func (r *Ring) Rewrap(ctx context.Context, keyID, about, sealed string) (string, error) {
	key, err := r.key(keyID)
	if err != nil {
		return "", err
	}
	dataKey, text, err := r.unwrap(ctx, about, sealed)
	if err != nil {
		return "", err
	}
	return seal(ctx, key, about, dataKey, text)
}

func (r *Ring) unwrap(ctx context.Context, about, sealed string) (dataKey []byte, text string, err error) {
	rest, ours := strings.CutPrefix(sealed, mark)
	parts := strings.Split(rest, ":")
	if !ours || len(parts) != 3 {
		return nil, "", ErrNoKey
	}
	key, err := r.key(parts[0])
	if err != nil {
		return nil, "", err
	}
	wrapped, err := base64.RawStdEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, "", ErrNoKey
	}
	if dataKey, err = key.Unwrap(ctx, about, wrapped); err != nil {
		return nil, "", fmt.Errorf("unwrap a data key: %w", err)
	}
	return dataKey, parts[2], nil
}

func encode(data []byte) string { return base64.RawStdEncoding.EncodeToString(data) }

// padded puts the length before a value, and zeros behind it.
func padded(value []byte) []byte {
	n := (4 + len(value) + block - 1) / block * block
	text := make([]byte, n)
	binary.BigEndian.PutUint32(text, uint32(len(value)))
	copy(text[4:], value)
	return text
}

func unpadded(text []byte) ([]byte, error) {
	if len(text) < block {
		return nil, ErrNoKey
	}
	n := binary.BigEndian.Uint32(text)
	if int64(n) > int64(len(text)-4) {
		return nil, ErrNoKey
	}
	return text[4 : 4+n], nil
}

// encrypt and decrypt are AES-GCM with the nonce before the text.
func encrypt(key []byte, about string, text []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, text, []byte(about)), nil
}

func decrypt(key []byte, about string, data []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	if len(data) < aead.NonceSize() {
		return nil, ErrNoKey
	}
	nonce := data[:aead.NonceSize()]
	return aead.Open(nil, nonce, data[len(nonce):], []byte(about))
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
