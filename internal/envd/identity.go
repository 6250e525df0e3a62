package envd

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"os"
	"path/filepath"

	"shoal/internal/envd/access"
	"shoal/internal/envd/settings"
)

// identity is whose a guest is that was started ahead. It is Shoal's own field of
// /init, and counts only with the secret of this start, which the guest cannot
// know.
type identity struct {
	Secret     string `json:"secret"`
	SandboxID  string `json:"sandboxID"`
	TemplateID string `json:"templateID"`
	TokenHash  string `json:"accessTokenHash"`

	boot string // the start that it belongs to
}

// facts are the host's statements about the sandbox: those of the container's
// specification, or of the identity that came later. The caller holds the init
// turn.
func (s *Server) facts(given *identity) access.Facts {
	facts := s.authority.Read()
	if facts.BootHash == "" {
		return facts
	}
	if given != nil {
		sum := sha256.Sum256([]byte(given.Secret))
		if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(facts.BootHash)) == 1 {
			s.claimed = given
			s.claimed.boot = facts.BootHash
		}
	}
	if s.claimed != nil && s.claimed.boot == facts.BootHash {
		facts.SandboxID, facts.TemplateID, facts.TokenHash = s.claimed.SandboxID, s.claimed.TemplateID, s.claimed.TokenHash
	}
	return facts
}

// refresh takes over what the host says of the sandbox: its variables at once,
// and the files that scripts read soon after. A restored or forked guest has a
// new identity.
func (s *Server) refresh(facts access.Facts) {
	if facts.Sandbox == "" {
		facts.Sandbox = "true"
		if s.config.Local {
			facts.Sandbox = "false"
		}
	}
	changed := false
	for _, v := range []struct{ key, value string }{
		{settings.Sandbox, facts.Sandbox},
		{settings.SandboxID, facts.SandboxID},
		{settings.TemplateID, facts.TemplateID},
	} {
		if v.value != "" && s.settings.SetInternal(v.key, v.value) {
			changed = true
		}
	}
	if changed {
		s.background.Go(s.writeIdentity)
	}
}

// writeIdentity writes /run/e2b/.E2B_* (envd.md §4.1).
func (s *Server) writeIdentity() {
	s.identityMu.Lock()
	defer s.identityMu.Unlock()
	env := s.settings.Environment()
	if err := os.MkdirAll(s.config.RunDir, 0o755); err != nil {
		s.log.Warn("write the sandbox's identity", "err", err)
		return
	}
	for _, key := range []string{settings.Sandbox, settings.SandboxID, settings.TemplateID} {
		value, known := env[key]
		if !known {
			continue
		}
		if err := replaceReadOnly(filepath.Join(s.config.RunDir, "."+key), value); err != nil {
			s.log.Warn("write the sandbox's identity", "err", err)
		}
	}
}

// replaceReadOnly writes a file of mode 0444 over one that may be there.
func replaceReadOnly(path, text string) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(text), 0o444); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
