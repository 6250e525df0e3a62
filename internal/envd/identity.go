package envd

import (
	"cmp"
	"crypto/subtle"
	"os"
	"path/filepath"

	"shoal/internal/envdapi"
)

// claim is the identity that a guest started ahead was given.
type claim struct {
	envdapi.Identity
	boot string // the BootHash of the start that it belongs to
}

// facts returns what the node states about the sandbox, in the container's specification or
// in an identity that it gave later. The caller holds the init turn.
func (s *Server) facts(given *envdapi.Identity) envdapi.Facts {
	facts := s.authority.Read()
	if facts.BootHash == "" {
		return facts
	}
	if given != nil {
		hash := envdapi.BootHash(given.Secret)
		if subtle.ConstantTimeCompare([]byte(hash), []byte(facts.BootHash)) == 1 {
			s.claimed = &claim{*given, hash}
		}
	}
	if c := s.claimed; c != nil && c.boot == facts.BootHash {
		facts.SandboxID, facts.TemplateID, facts.TokenHash = c.SandboxID, c.TemplateID, c.TokenHash
	}
	return facts
}

// refresh applies what the node states about the sandbox, which changes when a guest is
// restored or forked: the variables at once, the files that scripts read in the background.
func (s *Server) refresh(facts envdapi.Facts) {
	if facts.Sandbox == "" {
		facts.Sandbox = "true"
		if s.config.Local {
			facts.Sandbox = "false"
		}
	}
	changed := false
	for _, v := range []struct{ key, value string }{
		{envdapi.SandboxVariable, facts.Sandbox},
		{envdapi.SandboxIDVariable, facts.SandboxID},
		{envdapi.TemplateIDVariable, facts.TemplateID},
	} {
		if v.value != "" && s.settings.SetInternal(v.key, v.value) {
			changed = true
		}
	}
	if changed {
		s.background.Go(s.writeIdentity)
	}
}

// writeIdentity writes /run/e2b/.E2B_* (envd.md §4.1) and the machine's ID.
func (s *Server) writeIdentity() {
	s.identityMu.Lock()
	defer s.identityMu.Unlock()
	env := s.settings.Environment()
	if err := os.MkdirAll(s.config.RunDir, 0o755); err != nil {
		s.log.Warn("the sandbox's identity files could not be written", "error", err)
		return
	}
	for _, key := range []string{envdapi.SandboxVariable, envdapi.SandboxIDVariable,
		envdapi.TemplateIDVariable} {
		value, known := env[key]
		if !known {
			continue
		}
		if err := replaceReadOnly(filepath.Join(s.config.RunDir, "."+key), value); err != nil {
			s.log.Warn("the sandbox's identity files could not be written", "error", err)
		}
	}
	if !s.config.Boots {
		return
	}
	of := cmp.Or(env[envdapi.SandboxIDVariable], env[envdapi.TemplateIDVariable])
	if err := s.machine.write(s.at("/etc/machine-id"), of); err != nil {
		s.log.Warn("the machine's ID could not be written", "error", err)
	}
}

// replaceReadOnly puts a file of mode 0444 in place of one that may be there.
func replaceReadOnly(path, text string) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(text), 0o444); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
