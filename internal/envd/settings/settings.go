// Package settings is what /init tells the daemon about its sandbox: the
// environment, the default user and the default workdir.
package settings

import (
	"maps"
	"sync"
)

// Settings may be used by several goroutines. The zero value is not ready.
type Settings struct {
	mu       sync.RWMutex
	internal map[string]string
	user     map[string]string
	trust    map[string]string
	name     string
	workdir  string
}

// New returns the state of a fresh daemon: user root, no workdir, no variables.
func New() *Settings {
	return &Settings{name: "root", internal: map[string]string{}}
}

// Environment returns a copy of all variables; the platform's win, but for those by which
// programs find whom to trust.
func (s *Settings) Environment() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	env := make(map[string]string, len(s.trust)+len(s.user)+len(s.internal))
	maps.Copy(env, s.trust)
	maps.Copy(env, s.user)
	maps.Copy(env, s.internal)
	return env
}

// SetInternal sets one of the platform's variables and reports whether that
// changed anything. It hides a user's variable of the same name (envd.md §1.4).
func (s *Settings) SetInternal(key, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.internal[key]; ok && old == value {
		return false
	}
	s.internal[key] = value
	return true
}

// SetTrust replaces the variables by which programs find whom to trust. A user's variable of the
// same name hides one.
func (s *Settings) SetTrust(env map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trust = env
}

// ReplaceUser replaces all variables the user supplied.
func (s *Settings) ReplaceUser(env map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user = maps.Clone(env)
}

// DefaultUser is the user of requests that name none.
func (s *Settings) DefaultUser() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.name
}

// DefaultWorkdir stands for an empty path; "" means the user's home.
func (s *Settings) DefaultWorkdir() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.workdir
}

// SetDefaults changes the default user and workdir; "" leaves one unchanged.
func (s *Settings) SetDefaults(user, workdir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user != "" {
		s.name = user
	}
	if workdir != "" {
		s.workdir = workdir
	}
}
