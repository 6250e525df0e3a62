package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/net/http/httpguts"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// fillLimit bounds one question. The machine waits no longer.
const fillLimit = 5 * time.Second

// fill gives a machine the values of placeholders in headers of one of its sandboxes. What the
// sandbox may have is looked up anew each time; the machine is asked only which sandbox it is.
func (s *Server) fill(
	ctx context.Context, node shoal.Node, asked shoal.Fill,
) (map[shoal.Placeholder]string, error) {
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	sb, err := node.Get(ctx, asked.SandboxID)
	if err != nil {
		return nil, err
	}
	if err := s.allowFill(ctx, sb, asked); err != nil {
		s.log.Warn("a machine asked for values that its sandbox cannot have", "sandbox", asked.SandboxID,
			"team", sb.TeamID, "domain", asked.Domain, "error", err)
		return nil, err
	}
	values := make(map[shoal.Placeholder]string, len(asked.Wanted))
	for _, p := range asked.Wanted {
		if _, ok := values[p]; ok {
			continue
		}
		used := shoal.AuditEntry{TeamID: sb.TeamID, Actor: shoal.Actor{Kind: shoal.ActorSandbox, ID: sb.SandboxID},
			Address: asked.Domain, Count: 1}
		if p.Kind == shoal.PlaceholderSecret {
			values[p], err = s.fillSecret(ctx, sb, p, &used)
		} else {
			values[p], err = s.fillToken(ctx, sb, p, &used)
		}
		if err != nil {
			return nil, err
		}
		s.trail.Use(used)
	}
	return values, nil
}

// allowFill refuses what the sandbox's own policy does not name, or its team may not have now.
func (s *Server) allowFill(ctx context.Context, sb shoal.Sandbox, asked shoal.Fill) error {
	if sb.State == shoal.StatePaused {
		return shoal.ErrFillRefused.New("The sandbox is paused")
	}
	team, err := s.store.Team(ctx, sb.TeamID)
	if err != nil {
		return err
	}
	if team.Blocked || team.Banned {
		return shoal.ErrFillRefused.New("The team is blocked")
	}
	named, err := namedBy(sb.Network.Transforms[asked.Domain])
	if err != nil {
		return err
	}
	var features shoal.Switches
	for _, p := range asked.Wanted {
		if !slices.Contains(named, p) {
			return shoal.ErrFillRefused.New("No header of the domain's rule has this placeholder")
		}
		if p.Kind == shoal.PlaceholderSecret {
			features |= shoal.SwitchSecrets
		} else {
			features |= shoal.SwitchWorkloadTokens
		}
	}
	off, err := s.auth.Off(ctx, sb.TeamID)
	if err == nil && off&features != 0 {
		err = shoal.ErrFillRefused.New("The feature is switched off: %s", off&features)
	}
	return err
}

// namedBy lists the placeholders in the headers of a transform.
func namedBy(t shoal.Transform) (named []shoal.Placeholder, err error) {
	for _, value := range t.Headers {
		list, err := shoal.ParsePlaceholders(value)
		if err != nil {
			return nil, err
		}
		named = append(named, list...)
	}
	return named, nil
}

// fillSecret returns a secret's value and says of whom it is the use. The error never has the value.
func (s *Server) fillSecret(
	ctx context.Context, sb shoal.Sandbox, p shoal.Placeholder, used *shoal.AuditEntry,
) (string, error) {
	secret, value, err := s.store.SecretValue(ctx, sb.TeamID, p.Name)
	if errors.Is(err, store.ErrNotFound) {
		return "", shoal.ErrFillRefused.New("The secret '%.128s' does not exist", p.Name)
	}
	if err != nil {
		return "", err
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return "", shoal.ErrFillRefused.New("The secret '%.128s' cannot be in a header: its value has line breaks or other control characters", p.Name)
	}
	used.Operation, used.TargetKind, used.TargetID = shoal.AuditSecretUsed, "secret", secret.ID
	return value, nil
}

// fillToken signs a token of the sandbox's identity.
func (s *Server) fillToken(
	ctx context.Context, sb shoal.Sandbox, p shoal.Placeholder, used *shoal.AuditEntry,
) (string, error) {
	token, ok := sb.WorkloadTokens[p.Name]
	if !ok {
		return "", shoal.ErrFillRefused.New("The sandbox has no workload token '%.128s'", p.Name)
	}
	used.Operation, used.TargetKind, used.TargetID = shoal.AuditTokenUsed, "workload-token", p.Name
	return s.identity.Sign(ctx, sb.Spec, token.Audience)
}
