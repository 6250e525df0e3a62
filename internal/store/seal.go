package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// Secrets that Shoal has to know, and not only to compare, are sealed by a key that is not in the
// database: whoever reads the database or a backup of it cannot sign in a webhook's name.
const (
	sealMark = "sealed:1:"
	// sealedText is how long a secret is made before it is sealed. So what is sealed is longer than
	// any secret in the clear can be, and the two cannot be taken for each other.
	sealedText = 2 + shoal.MaxWebhookSecret
)

// sealer seals with one key.
type sealer struct {
	aead cipher.AEAD
	// mark begins all that this key has sealed.
	mark string
}

func newSealer(secret string) (*sealer, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "shoal webhook secrets", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of sealed secrets: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	id := sha256.Sum256(key)
	return &sealer{aead: aead, mark: sealMark + hex.EncodeToString(id[:4]) + ":"}, err
}

// seal seals a secret for the record of an ID, and for no other.
func (s *sealer) seal(id, secret string) string {
	text := make([]byte, sealedText)
	binary.BigEndian.PutUint16(text, uint16(len(secret)))
	copy(text[2:], secret)
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce)
	return s.mark + base64.RawStdEncoding.EncodeToString(s.aead.Seal(nonce, nonce, text, []byte(id)))
}

var errSealed = errors.New("it is sealed by another key, or damaged")

func (s *sealer) open(id, sealed string) (string, error) {
	encoded, ours := strings.CutPrefix(sealed, s.mark)
	data, err := base64.RawStdEncoding.DecodeString(encoded)
	if !ours || err != nil || len(data) < s.aead.NonceSize() {
		return "", errSealed
	}
	nonce := data[:s.aead.NonceSize()]
	text, err := s.aead.Open(nil, nonce, data[len(nonce):], []byte(id))
	if err != nil || len(text) != sealedText {
		return "", errSealed
	}
	return string(text[2 : 2+binary.BigEndian.Uint16(text)]), nil
}

func isSealed(secret string) bool {
	return len(secret) > shoal.MaxWebhookSecret && strings.HasPrefix(secret, sealMark)
}

// SealBy has the store seal secrets with a key from now on, and read what that key has sealed. It
// must be called before the store is used.
func (s *Store) SealBy(secret string) (err error) {
	s.sealer, err = newSealer(secret)
	return err
}

// SealAll seals the secrets that are in the clear, as earlier versions left them. ErrSealed from the
// catalogue if there are some that another key has sealed; nothing is changed then.
func (s *Store) SealAll(ctx context.Context) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		rows, err := q.WebhookSecrets(ctx)
		if err != nil {
			return fmt.Errorf("list the secrets of webhooks: %w", err)
		}
		for _, row := range rows {
			if isSealed(row.Secret) {
				if _, err := s.unsealed(row.ID, row.Secret); err != nil {
					return err
				}
				continue
			}
			n, err := q.SetWebhookSecret(ctx, sqlcgen.SetWebhookSecretParams{ID: row.ID, Secret: s.sealed(row.ID, row.Secret)})
			if err := changed(n, err, ErrNotFound, "seal the secret of a webhook"); err != nil {
				return err
			}
		}
		return nil
	})
}

// sealed is a secret as the database has it.
func (s *Store) sealed(id, secret string) string {
	if s.sealer == nil {
		return secret
	}
	return s.sealer.seal(id, secret)
}

// unsealed is a secret of the database as it was given.
func (s *Store) unsealed(id, secret string) (string, error) {
	if !isSealed(secret) {
		return secret, nil
	}
	if s.sealer == nil {
		return "", shoal.ErrSealed.Wrap(errSealed, "The webhook's secret cannot be read")
	}
	text, err := s.sealer.open(id, secret)
	if err != nil {
		return "", shoal.ErrSealed.Wrap(err, "The webhook's secret cannot be read")
	}
	return text, nil
}

// refuseOtherSeal keeps two processes with different keys from sealing side by side: neither could
// send what the other has sealed.
func (s *Store) refuseOtherSeal(ctx context.Context, q *sqlcgen.Queries) error {
	if s.sealer == nil {
		return nil
	}
	n, err := q.CountOtherSeals(ctx, sqlcgen.CountOtherSealsParams{Sealed: sealMark + "%", Own: s.sealer.mark + "%"})
	if err != nil {
		return fmt.Errorf("look for secrets that another key has sealed: %w", err)
	}
	if n > 0 {
		return shoal.ErrSealed.Wrap(errSealed, "The webhook's secret cannot be kept")
	}
	return nil
}
