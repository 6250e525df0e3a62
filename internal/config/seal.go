package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"shoal/internal/atomicfile"
	"shoal/internal/keyring"
)

// sealFile has a line for each secret that seals, the newest first: one, and the former one too while
// a rotation is under way.
const sealFile = "seal-secret"

// Keyring returns the keys by which values are sealed in the database. Without settings there is one
// in the data directory, which is generated on first use.
func (c *Config) Keyring() (*keyring.Ring, error) {
	if c.SealSecret == "" && c.SealCommand == "" {
		if _, err := c.secret(sealFile, ""); err != nil {
			return nil, err
		}
	}
	return keyring.New(c.sealKeys)
}

// KnownKeyring is Keyring, but makes nothing.
func (c *Config) KnownKeyring() (*keyring.Ring, error) { return keyring.New(c.sealKeys) }

// sealKeys reads the keys as they are now, first the one that is to be used.
func (c *Config) sealKeys() (keys []keyring.Key, err error) {
	if c.SealCommand != "" {
		keys = append(keys, keyring.NewCommand(c.SealCommand))
	}
	var secrets []string
	if c.SealSecret != "" {
		secrets = append(secrets, c.SealSecret)
	}
	kept, err := c.sealLines()
	if err != nil {
		return nil, err
	}
	for _, secret := range append(append(secrets, kept...), c.FormerSealSecrets...) {
		key, err := keyring.NewLocal(secret)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (c *Config) sealLines() ([]string, error) {
	data, err := os.ReadFile(c.secretFile(sealFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the secrets that seal: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// RotatesSealFile reports whether the key that seals is in the data directory, where Shoal itself can
// make a new one.
func (c *Config) RotatesSealFile() bool { return c.SealSecret == "" && c.SealCommand == "" }

// BeginSealRotation puts a new secret before the one in the data directory. If a rotation was cut off,
// it goes on with its secret.
func (c *Config) BeginSealRotation() error {
	lines, err := c.sealLines()
	if err != nil {
		return err
	}
	if len(lines) > 1 {
		return nil
	}
	return c.writeSealLines(append(strings.Fields(string(newSecret())), lines...))
}

// EndSealRotation leaves only the newest secret in the data directory. Nothing may be sealed by
// another one any more.
func (c *Config) EndSealRotation() error {
	lines, err := c.sealLines()
	if err != nil || len(lines) < 2 {
		return err
	}
	return c.writeSealLines(lines[:1])
}

func (c *Config) writeSealLines(lines []string) error {
	path := c.secretFile(sealFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the directory of secrets: %w", err)
	}
	err := atomicfile.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600, atomicfile.Durable)
	if err != nil {
		return fmt.Errorf("write the secrets that seal: %w", err)
	}
	return nil
}
