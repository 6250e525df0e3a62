package orchestrator

import (
	"context"
	"time"

	"shoal/internal/egress/intercept"
	"shoal/internal/envdapi"
	"shoal/internal/guest"
	"shoal/internal/shoal"
)

// ensureAuthority gives a sandbox whose requests are transformed an authority, unless it has one.
// It keeps that for its life, in its record; a fork, or a sandbox of a snapshot, gets its own.
func (s *sandbox) ensureAuthority(transforms map[string]shoal.Transform) error {
	if len(transforms) == 0 || s.authorityNow() != nil {
		return nil
	}
	made, err := intercept.NewAuthority(s.id, time.Now())
	if err != nil {
		return err
	}
	text, err := made.Marshal()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority = text
	return nil
}

// authorityNow is the sandbox's authority with its key (PEM); nil if it has none.
func (s *sandbox) authorityNow() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.authority
}

// trusted is what a guest is told of its sandbox's authority. Without one, it takes out that of the
// sandbox that its memory or its disk is from.
func (s *sandbox) trusted() (envdapi.Init, error) {
	text := s.authorityNow()
	if text == nil {
		return envdapi.Init{NoCA: true}, nil
	}
	authority, err := intercept.ParseAuthority(text)
	if err != nil {
		return envdapi.Init{}, err
	}
	return envdapi.Init{CABundle: string(authority.Certificate())}, nil
}

// introduce has a guest that runs trust its sandbox's authority.
func (s *sandbox) introduce(ctx context.Context, own *guest.Guest) error {
	body, err := s.trusted()
	if err != nil {
		return err
	}
	view := s.viewNow()
	body.AccessToken, body.LifecycleID = envdapi.AccessToken(view.EnvdAccessToken), view.ExecutionID
	return own.Init(ctx, body, envdapi.Facts{})
}
