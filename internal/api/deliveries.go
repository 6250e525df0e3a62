package api

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListDeliveries lists what was sent to a webhook, and what waits.
func (s *Server) ListDeliveries(
	ctx context.Context, req gen.ListDeliveriesRequestObject,
) (gen.ListDeliveriesResponseObject, error) {
	w, err := s.webhook(ctx, req.WebhookID)
	if err != nil {
		return nil, err
	}
	limit, offset := eventLimit(req.Params.Limit), int(deref(req.Params.Offset))
	list, err := s.store.Deliveries(ctx, w.TeamID, w.ID, limit, offset)
	if err != nil {
		return nil, err
	}
	answer := make(gen.ListDeliveries200JSONResponse, len(list))
	for i, d := range list {
		answer[i] = wireDelivery(d)
	}
	return answer, nil
}

// TestWebhook sends an event that tells of nothing.
func (s *Server) TestWebhook(
	ctx context.Context, req gen.TestWebhookRequestObject,
) (gen.TestWebhookResponseObject, error) {
	w, err := s.webhook(ctx, req.WebhookID)
	if err != nil {
		return nil, err
	}
	kind := w.Events[0]
	if req.Body != nil && req.Body.Type != nil {
		kind = shoal.EventType(*req.Body.Type)
	}
	d := shoal.NewTestDelivery(w, kind, time.Now().UTC())
	if err := s.send(ctx, w, d); err != nil {
		return nil, err
	}
	return gen.TestWebhook202JSONResponse(wireDelivery(d)), nil
}

// ReplayDelivery sends the event of a delivery again, as a delivery of its own.
func (s *Server) ReplayDelivery(
	ctx context.Context, req gen.ReplayDeliveryRequestObject,
) (gen.ReplayDeliveryResponseObject, error) {
	w, err := s.webhook(ctx, req.WebhookID)
	if err != nil {
		return nil, err
	}
	var old shoal.Delivery
	if err = store.ErrNotFound; uuid.Validate(req.DeliveryID) == nil {
		old, err = s.store.Delivery(ctx, w.TeamID, w.ID, req.DeliveryID)
	}
	if errors.Is(err, store.ErrNotFound) {
		err = shoal.ErrWebhookNotFound.New("Delivery %.64q doesn't exist or you don't have access to it",
			req.DeliveryID)
	}
	if err != nil {
		return nil, err
	}
	if old.Test == "" {
		_, err := s.store.Event(ctx, w.TeamID, old.EventID)
		if errors.Is(err, store.ErrNotFound) {
			err = shoal.ErrEventGone.New("The event of delivery %.64q is not kept any more", req.DeliveryID)
		}
		if err != nil {
			return nil, err
		}
	}
	d := old.Again(time.Now().UTC())
	if err := s.send(ctx, w, d); err != nil {
		return nil, err
	}
	return gen.ReplayDelivery202JSONResponse(wireDelivery(d)), nil
}

// send has a delivery sent soon.
func (s *Server) send(ctx context.Context, w shoal.Webhook, d shoal.Delivery) error {
	if !w.Enabled {
		return shoal.ErrWebhookDisabled.New("Webhook %q is disabled", w.ID)
	}
	if err := s.store.AddDelivery(ctx, d); err != nil {
		return err
	}
	if s.deliveries != nil {
		s.deliveries()
	}
	return nil
}

func wireDelivery(d shoal.Delivery) gen.Delivery {
	w := gen.Delivery{Id: d.ID, WebhookId: d.WebhookID, EventId: optional(d.EventID),
		EventType: gen.EventType(d.EventType), SandboxId: optional(d.SandboxID), Status: gen.DeliveryStatus(d.Status),
		Attempts: int32(d.Attempts), CreatedAt: d.CreatedAt, ErrorClass: optional(d.Last.ErrorClass),
		ErrorMessage: optional(d.Last.ErrorMessage)}
	if d.Status == shoal.DeliveryPending {
		w.NextAttemptAt = &d.NextAt
	}
	if d.Last.At.IsZero() {
		return w
	}
	a := gen.DeliveryAttempt{At: d.Last.At, DurationMs: float64(d.Last.Duration.Microseconds()) / 1000,
		RequestHeaders: d.Last.RequestHeaders}
	if status := int32(d.Last.ResponseStatus); status != 0 {
		headers := gen.StringMap(d.Last.ResponseHeaders)
		a.ResponseStatus, a.ResponseHeaders, a.ResponseBody = &status, &headers, &d.Last.ResponseBody
	}
	w.LastAttempt = &a
	return w
}
