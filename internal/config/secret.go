package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"shoal/internal/atomicfile"
)

// Secrets are the settings that are generated once if the operator does not set them.
type Secrets struct {
	NodeSecret string
	TokenSeed  string
}

// LoadSecrets returns the configured secrets, or those in the data directory, which it
// generates on first use. devSeed is the token seed with --dev.
func (c *Config) LoadSecrets(devSeed string) (Secrets, error) {
	var s Secrets
	var err error
	if s.NodeSecret, err = c.secret("node-secret", c.NodeSecret); err != nil {
		return s, err
	}
	seed := c.TokenSeed
	if seed == "" && c.Dev {
		seed = devSeed
	}
	s.TokenSeed, err = c.secret("token-seed", seed)
	return s, err
}

func (c *Config) secret(name, configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	path := c.secretFile(name)
	// Sandbox kernels run as nobody and must be able to traverse the data directory.
	if err := errors.Join(os.MkdirAll(c.DataDir, 0o711), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
		return "", fmt.Errorf("make the directory of secrets: %w", err)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		// If two roles start at once, the first one to write the file wins.
		data = newSecret()
		err = atomicfile.WriteNew(path, data, atomicfile.Durable)
		if errors.Is(err, os.ErrExist) {
			data, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read or make secret %s: %w", name, err)
	}
	value := strings.TrimSpace(string(data))
	if value == "" {
		return "", fmt.Errorf("secret file %s is empty", path)
	}
	return value, nil
}

// KnownNodeSecret is the roles' secret, if it is configured or was made already.
func (c *Config) KnownNodeSecret() (string, error) {
	if c.NodeSecret != "" {
		return c.NodeSecret, nil
	}
	data, err := os.ReadFile(c.secretFile("node-secret"))
	if err != nil {
		return "", fmt.Errorf("the roles' shared secret is not known here: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (c *Config) secretFile(name string) string { return filepath.Join(c.DataDir, "secrets", name) }

// newSecret returns a line with 32 random bytes in hex.
func newSecret() []byte {
	buf := make([]byte, 32)
	rand.Read(buf)
	return []byte(hex.EncodeToString(buf) + "\n")
}
