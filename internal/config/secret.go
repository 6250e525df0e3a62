package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Secrets are the settings that are generated once when the operator sets none.
type Secrets struct {
	NodeSecret string
	TokenSeed  string
}

// LoadSecrets returns the configured secrets, or those kept in the data
// directory, which it makes on first use. devSeed is the token seed of --dev.
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
	// The data directory itself is passed by sandbox kernels, which run as nobody.
	if err := errors.Join(os.MkdirAll(c.DataDir, 0o711), os.MkdirAll(dir, 0o700)); err != nil {
		return "", fmt.Errorf("make the directory of secrets: %w", err)
	}
	path := filepath.Join(dir, name)
	buf := make([]byte, 32)
	rand.Read(buf)
	value := hex.EncodeToString(buf)
	// Two roles may start at once: the one that links its file first wins.
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(tmp, []byte(value+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write secret %s: %w", name, err)
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err == nil {
		return value, nil
	} else if !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("write secret %s: %w", name, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", name, err)
	}
	if value = strings.TrimSpace(string(data)); value == "" {
		return "", fmt.Errorf("secret file %s is empty", path)
	}
	return value, nil
}
