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
	dir := filepath.Join(c.DataDir, "secrets")
	// Sandbox kernels run as nobody and must be able to traverse the data directory.
	if err := errors.Join(os.MkdirAll(c.DataDir, 0o711), os.MkdirAll(dir, 0o700)); err != nil {
		return "", fmt.Errorf("make the directory of secrets: %w", err)
	}
	path := filepath.Join(dir, name)
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

// newSecret returns a line with 32 random bytes in hex.
func newSecret() []byte {
	buf := make([]byte, 32)
	rand.Read(buf)
	return []byte(hex.EncodeToString(buf) + "\n")
}
