package api

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListWebhooks lists the team's webhooks.
func (s *Server) ListWebhooks(
	ctx context.Context, _ gen.ListWebhooksRequestObject,
) (gen.ListWebhooksResponseObject, error) {
	list, err := s.store.Webhooks(ctx, callerOf(ctx).Team.ID)
	if err != nil {
		return nil, err
	}
	answer := make(gen.ListWebhooks200JSONResponse, len(list))
	for i, w := range list {
		answer[i] = wireWebhook(w)
	}
	return answer, nil
}

// CreateWebhook makes a webhook. Its secret is never told again.
func (s *Server) CreateWebhook(
	ctx context.Context, req gen.CreateWebhookRequestObject,
) (gen.CreateWebhookResponseObject, error) {
	b := req.Body
	w := shoal.Webhook{ID: shoal.NewWebhookID(), TeamID: callerOf(ctx).Team.ID, Name: b.Name, URL: b.Url,
		Enabled: b.Enabled == nil || *b.Enabled, Events: eventTypes(&b.Events), Secret: b.SignatureSecret,
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	if err := s.checkWebhook(w); err != nil {
		return nil, err
	}
	err := s.store.AddWebhook(ctx, w)
	if errors.Is(err, store.ErrTooManyWebhooks) {
		err = shoal.ErrWebhookLimit.New("you have reached the maximum number of webhooks (%d).", shoal.MaxWebhooks)
	}
	if err != nil {
		return nil, err
	}
	aimed(ctx, "webhook", w.ID)
	return gen.CreateWebhook201JSONResponse(wireWebhook(w)), nil
}

// checkWebhook refuses what cannot be sent to, as far as can be told now.
func (s *Server) checkWebhook(w shoal.Webhook) error {
	if err := w.Check(); err != nil {
		return err
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return err // Check has parsed it
	}
	if s.checkTarget == nil {
		return nil
	}
	if err := s.checkTarget(u); err != nil {
		return shoal.ErrOutboundRefused.Wrap(err, "url: it is at an internal address, or refers to one")
	}
	return nil
}

// GetWebhook returns one webhook.
func (s *Server) GetWebhook(
	ctx context.Context, req gen.GetWebhookRequestObject,
) (gen.GetWebhookResponseObject, error) {
	w, err := s.webhook(ctx, req.WebhookID)
	if err != nil {
		return nil, err
	}
	return gen.GetWebhook200JSONResponse(wireWebhook(w)), nil
}

// webhook finds one of the team's. What is no ID is not asked for: not every database takes it.
func (s *Server) webhook(ctx context.Context, id string) (shoal.Webhook, error) {
	if uuid.Validate(id) != nil {
		return shoal.Webhook{}, noWebhook(store.ErrNotFound, id)
	}
	w, err := s.store.Webhook(ctx, callerOf(ctx).Team.ID, id)
	return w, noWebhook(err, id)
}

// noWebhook words that there is none of the ID.
func noWebhook(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return shoal.ErrWebhookNotFound.New("Webhook %.64q doesn't exist or you don't have access to it", id)
	}
	return err
}

// UpdateWebhook changes what the request names.
func (s *Server) UpdateWebhook(
	ctx context.Context, req gen.UpdateWebhookRequestObject,
) (gen.UpdateWebhookResponseObject, error) {
	w, err := s.webhook(ctx, req.WebhookID)
	if err != nil {
		return nil, err
	}
	b := req.Body
	if b.Name != nil {
		w.Name = *b.Name
	}
	if b.Url != nil {
		w.URL = *b.Url
	}
	if b.Enabled != nil {
		w.Enabled = *b.Enabled
	}
	if b.Events != nil {
		w.Events = eventTypes(b.Events)
	}
	if b.SignatureSecret != nil {
		w.Secret = *b.SignatureSecret
	}
	if err := s.checkWebhook(w); err != nil {
		return nil, err
	}
	if err := s.store.ChangeWebhook(ctx, w); err != nil {
		return nil, noWebhook(err, req.WebhookID)
	}
	return gen.UpdateWebhook200JSONResponse(wireWebhook(w)), nil
}

// DeleteWebhook removes a webhook, and what waits to be sent to it.
func (s *Server) DeleteWebhook(
	ctx context.Context, req gen.DeleteWebhookRequestObject,
) (gen.DeleteWebhookResponseObject, error) {
	w, err := s.webhook(ctx, req.WebhookID)
	if err != nil {
		return nil, err
	}
	if err := s.store.RemoveWebhook(ctx, w.TeamID, w.ID); err != nil {
		return nil, noWebhook(err, req.WebhookID)
	}
	return gen.DeleteWebhook200Response{}, nil
}

func wireWebhook(w shoal.Webhook) gen.Webhook {
	types := make([]gen.EventType, len(w.Events))
	for i, t := range w.Events {
		types[i] = gen.EventType(t)
	}
	return gen.Webhook{Id: w.ID, TeamID: w.TeamID, TeamId: w.TeamID, Name: w.Name, CreatedAt: w.CreatedAt,
		Enabled: w.Enabled, Url: w.URL, Events: types}
}
