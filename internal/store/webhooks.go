package store

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// ErrTooManyWebhooks means that a team has shoal.MaxWebhooks.
var ErrTooManyWebhooks = errors.New("the team has as many webhooks as it may")

// AddWebhook stores a webhook.
func (s *Store) AddWebhook(ctx context.Context, w shoal.Webhook) error {
	return s.sealingWebhook(ctx, w, func(q *sqlcgen.Queries, secret string) error {
		n, err := q.LockTeam(ctx, w.TeamID)
		if err := changed(n, err, ErrNotFound, "find team "+w.TeamID); err != nil {
			return err
		}
		count, err := q.CountWebhooks(ctx, w.TeamID)
		if err != nil {
			return fmt.Errorf("count webhooks: %w", err)
		}
		if count >= shoal.MaxWebhooks {
			return ErrTooManyWebhooks
		}
		n, err = q.InsertWebhook(ctx, sqlcgen.InsertWebhookParams{ID: w.ID, TeamID: w.TeamID, Name: w.Name, Url: w.URL,
			Enabled: w.Enabled, Events: typesText(w.Events), Secret: secret, CreatedAt: micros(w.CreatedAt)})
		return changed(n, err, ErrExists, "store a webhook")
	})
}

// sealingWebhook is sealing for the secret of a webhook, which without a ring is in the clear.
func (s *Store) sealingWebhook(ctx context.Context, w shoal.Webhook, keep func(q *sqlcgen.Queries, secret string) error) error {
	if s.ring == nil {
		return s.inTx(ctx, func(q *sqlcgen.Queries) error { return keep(q, w.Secret) })
	}
	return s.sealing(ctx, w.ID, w.Secret, keep)
}

// Webhook returns one of a team's webhooks.
func (s *Store) Webhook(ctx context.Context, teamID, id string) (shoal.Webhook, error) {
	row, err := s.q.WebhookByID(ctx, sqlcgen.WebhookByIDParams{ID: id, TeamID: teamID})
	return s.withSecret(ctx, row, lookup(err, "find a webhook"))
}

// WebhookToSend returns a webhook, whoever's it is.
func (s *Store) WebhookToSend(ctx context.Context, id string) (shoal.Webhook, error) {
	row, err := s.q.WebhookToSend(ctx, id)
	return s.withSecret(ctx, row, lookup(err, "find a webhook"))
}

// Webhooks returns a team's webhooks without their secrets, oldest first.
func (s *Store) Webhooks(ctx context.Context, teamID string) ([]shoal.Webhook, error) {
	rows, err := s.q.ListWebhooks(ctx, teamID)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	list := make([]shoal.Webhook, len(rows))
	for i, row := range rows {
		list[i] = webhookOf(row)
	}
	return list, nil
}

// ChangeWebhook replaces all of a webhook but its ID, its team and the time of its creation.
func (s *Store) ChangeWebhook(ctx context.Context, w shoal.Webhook) error {
	return s.sealingWebhook(ctx, w, func(q *sqlcgen.Queries, secret string) error {
		n, err := q.UpdateWebhook(ctx, sqlcgen.UpdateWebhookParams{ID: w.ID, TeamID: w.TeamID, Name: w.Name,
			Url: w.URL, Enabled: w.Enabled, Events: typesText(w.Events), Secret: secret})
		return changed(n, err, ErrNotFound, "change a webhook")
	})
}

// RemoveWebhook removes a webhook with its deliveries.
func (s *Store) RemoveWebhook(ctx context.Context, teamID, id string) error {
	n, err := s.q.DeleteWebhook(ctx, sqlcgen.DeleteWebhookParams{ID: id, TeamID: teamID})
	return changed(n, err, ErrNotFound, "remove a webhook")
}

// webhookOf leaves the secret out, which few need.
func webhookOf(row sqlcgen.Webhook) shoal.Webhook {
	return shoal.Webhook{ID: row.ID, TeamID: row.TeamID, Name: row.Name, URL: row.Url, Enabled: row.Enabled,
		Events: typesOf(row.Events), CreatedAt: fromMicros(row.CreatedAt)}
}

// withSecret is webhookOf with the secret.
func (s *Store) withSecret(ctx context.Context, row sqlcgen.Webhook, err error) (shoal.Webhook, error) {
	w := webhookOf(row)
	if err == nil {
		w.Secret, err = s.unsealed(ctx, row.ID, row.Secret)
	}
	return w, err
}
