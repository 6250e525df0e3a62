package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// Creates under an idempotency key (clients-2.63.md §2.2). The key is stored with the ID of
// the sandbox before it starts, and with the answer when it runs. So a create whose answer
// was lost, by a connection or by the end of this process, finds its sandbox.

const (
	// idempotencyTime is for how long a key leads to its sandbox.
	idempotencyTime = 24 * time.Hour
	// idempotencyKeys is how many keys of a team are kept; beyond it the oldest are forgotten.
	idempotencyKeys = 20_000
	// idempotencyWait is how long a create waits for another one with its key. Clients give
	// up after 60 s.
	idempotencyWait = 20 * time.Second
	// abandonedTime is when no other api can be at work on a create any more.
	abandonedTime = requestTime + 20*time.Second
	// recordTime is for storing what a machine has done.
	recordTime = 5 * time.Second
)

// createdSandbox is what is stored of an answer. Its tokens are left out: they follow from
// the sandbox's ID.
type createdSandbox struct {
	TemplateID  string `json:"templateID"`
	Alias       string `json:"alias,omitempty"`
	EnvdVersion string `json:"envdVersion"`
	HostIP      string `json:"hostIP,omitempty"`
	Private     bool   `json:"private,omitempty"` // has a traffic token
	ColdBoot    bool   `json:"coldBoot,omitempty"`
	Runtime     string `json:"runtime,omitempty"`
}

// createOnce is create, unless the team has used the key: then the answer is that of the
// first create, even if its sandbox has ended since. A create that has failed frees its key.
func (s *Server) createOnce(ctx context.Context, key string, body gen.NewSandbox) (shoal.Sandbox, error) {
	digest, err := requestDigest(body)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	team := callerOf(ctx).Team
	wait, cancel := context.WithTimeout(ctx, idempotencyWait)
	defer cancel()
	done, err := s.creating.Take(wait, team.ID+" "+key)
	if err != nil {
		return shoal.Sandbox{}, errInProgress(key)
	}
	defer done()
	c := store.Creation{TeamID: team.ID, Key: key, Digest: digest, Server: s.name}
	have, err := s.store.Creation(ctx, team.ID, key, time.Now().Add(-idempotencyTime))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.createFirst(ctx, c, body)
	case err != nil:
		return shoal.Sandbox{}, err
	case have.Digest != digest:
		return shoal.Sandbox{}, shoal.ErrIdempotencyMismatch.New(
			"Idempotency key '%s' was used for a request with another body", key)
	case have.Answer != "":
		return s.recall(have)
	}
	return s.takeOver(ctx, have, c, body)
}

// createFirst creates a sandbox under a key that is free.
func (s *Server) createFirst(
	ctx context.Context, c store.Creation, body gen.NewSandbox,
) (shoal.Sandbox, error) {
	recorded := false
	sb, err := s.create(ctx, body, familyV2, func(sandboxID string) error {
		var err error
		if recorded {
			if err = s.store.MoveCreation(ctx, c, sandboxID); err == nil {
				c.SandboxID = sandboxID
			}
			return err
		}
		c.SandboxID, c.StartedAt = sandboxID, time.Now()
		err = s.store.BeginCreation(ctx, c, c.StartedAt.Add(-idempotencyTime), idempotencyKeys)
		if errors.Is(err, store.ErrExists) { // another api was quicker
			return errInProgress(c.Key)
		}
		recorded = err == nil
		return err
	})
	// How it has ended is stored even if the caller is gone. If it cannot be, the next
	// request with the key looks for the sandbox.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	if err != nil {
		if recorded {
			s.logUnrecorded(ctx, s.store.ForgetCreation(end, c))
		}
		return sb, err
	}
	s.logUnrecorded(ctx, s.remember(end, c, sb))
	return sb, nil
}

// takeOver goes on with a create that was begun and has no answer, while nobody in this
// process is at work on it.
func (s *Server) takeOver(
	ctx context.Context, have, c store.Creation, body gen.NewSandbox,
) (shoal.Sandbox, error) {
	if have.Server != s.name && time.Since(have.StartedAt) < abandonedTime {
		return shoal.Sandbox{}, errInProgress(have.Key)
	}
	_, sb, err := s.fleet.Locate(ctx, have.SandboxID)
	switch {
	case err == nil:
		s.logUnrecorded(ctx, s.remember(ctx, have, sb))
		return sb, nil
	case !shoal.ErrSandboxNotFound.Matches(err):
		s.log.Warn("it is not known what a create has made", "sandbox", have.SandboxID,
			"request", shoal.RequestID(ctx), "error", err)
		return shoal.Sandbox{}, shoal.ErrIdempotencyUnknown.New(
			"It is not known whether idempotency key '%s' has made a sandbox", have.Key)
	}
	// A machine undoes what it was about to start for an api that is gone, so nothing is left.
	if err := s.store.ForgetCreation(ctx, have); err != nil {
		return shoal.Sandbox{}, err
	}
	return s.createFirst(ctx, c, body)
}

// remember stores the answer of a create.
func (s *Server) remember(ctx context.Context, c store.Creation, sb shoal.Sandbox) error {
	answer, err := json.Marshal(createdSandbox{TemplateID: sb.TemplateID, Alias: sb.Alias,
		EnvdVersion: sb.EnvdVersion, HostIP: sb.HostIP, ColdBoot: sb.ColdBoot, Runtime: sb.Runtime,
		Private: sb.Network.TrafficAccessToken != ""})
	if err != nil {
		return fmt.Errorf("encode the answer of a create: %w", err)
	}
	return s.store.EndCreation(ctx, c, string(answer))
}

// recall returns as much of a sandbox as a create answers with.
func (s *Server) recall(c store.Creation) (shoal.Sandbox, error) {
	var was createdSandbox
	if err := json.Unmarshal([]byte(c.Answer), &was); err != nil {
		return shoal.Sandbox{}, fmt.Errorf("read the stored answer of a create: %w", err)
	}
	sb := shoal.Sandbox{HostIP: was.HostIP, ColdBoot: was.ColdBoot, Runtime: was.Runtime,
		Spec: shoal.Spec{SandboxID: c.SandboxID, TemplateID: was.TemplateID, Alias: was.Alias,
			EnvdVersion: was.EnvdVersion, EnvdAccessToken: s.tokens.Envd(c.SandboxID)}}
	if was.Private {
		sb.Network.TrafficAccessToken = s.tokens.Traffic(c.SandboxID)
	}
	return sb, nil
}

func (s *Server) logUnrecorded(ctx context.Context, err error) {
	if err != nil {
		s.log.Warn("the end of a create under an idempotency key could not be stored",
			"request", shoal.RequestID(ctx), "error", err)
	}
}

func errInProgress(key string) error {
	return shoal.ErrIdempotencyInProgress.New("A request with idempotency key '%s' is still under way", key)
}

// requestDigest is the same for bodies that say the same: clients differ in the order of
// keys, and in what they leave out or send as null.
func requestDigest(body gen.NewSandbox) (string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode a request: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
