package envd

import (
	"os"
	"path/filepath"

	"shoal/internal/envd/access"
	"shoal/internal/envd/settings"
)

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
