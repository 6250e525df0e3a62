package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

const (
	// MaxOpenDeliveries is how many deliveries of a webhook may wait; further ones fail at once.
	MaxOpenDeliveries = 50_000
	// MaxDeliveries is how many of a webhook are kept after their end.
	MaxDeliveries = 50_000
)

// openDeliveries opens the deliveries of a new event; the team's events are locked.
func openDeliveries(
	ctx context.Context, q *sqlcgen.Queries, hooks []sqlcgen.Webhook, e shoal.Event, now time.Time,
) error {
	for _, row := range hooks {
		hook := webhookOf(row)
		if !hook.Wants(e.Type) {
			continue
		}
		busy, err := q.IsQueueBusy(ctx, sqlcgen.IsQueueBusyParams{WebhookID: hook.ID, Queue: e.SandboxID})
		if err != nil {
			return err
		}
		d := shoal.Delivery{ID: shoal.NewDeliveryID(), WebhookID: hook.ID, TeamID: e.TeamID, EventID: e.ID,
			EventType: e.Type, SandboxID: e.SandboxID, Number: e.Number, Status: shoal.DeliveryPending,
			CreatedAt: now, NextAt: now}
		if busy {
			d.Status = shoal.DeliveryWaiting
		}
		if err := openDelivery(ctx, q, d, e.SandboxID); err != nil {
			return err
		}
	}
	return nil
}

// openDelivery stores a delivery that has not been tried. If too many wait, it has failed.
func openDelivery(ctx context.Context, q *sqlcgen.Queries, d shoal.Delivery, queue string) error {
	n, err := q.OpenDelivery(ctx, sqlcgen.OpenDeliveryParams{ID: d.WebhookID, OpenDeliveries: MaxOpenDeliveries})
	if err != nil {
		return err
	}
	if n == 0 {
		d.Status, d.Last.ErrorClass = shoal.DeliveryFailed, "overflow"
		d.Last.ErrorMessage = fmt.Sprintf("%d deliveries to the webhook wait already", MaxOpenDeliveries)
	}
	return q.InsertDelivery(ctx, sqlcgen.InsertDeliveryParams{ID: d.ID, WebhookID: d.WebhookID, TeamID: d.TeamID,
		EventID: d.EventID, EventType: string(d.EventType), SandboxID: d.SandboxID, Number: d.Number, Queue: queue,
		Status: string(d.Status), Test: d.Test, CreatedAt: micros(d.CreatedAt), NextAt: micros(d.NextAt),
		ErrorClass: d.Last.ErrorClass, ErrorMessage: d.Last.ErrorMessage})
}

// AddDelivery stores a delivery that waits for no other: a test, or a repetition.
func (s *Store) AddDelivery(ctx context.Context, d shoal.Delivery) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if _, err := q.LockEvents(ctx, d.TeamID); err != nil {
			return fmt.Errorf("store a delivery: %w", err)
		}
		if err := openDelivery(ctx, q, d, d.ID); err != nil {
			return fmt.Errorf("store a delivery: %w", err)
		}
		return nil
	})
}

// DueWebhook is a webhook that has deliveries to be tried.
type DueWebhook struct{ ID, TeamID string }

// DueWebhooks returns which webhooks have deliveries to be tried now.
func (s *Store) DueWebhooks(ctx context.Context, now time.Time) ([]DueWebhook, error) {
	rows, err := s.q.DueWebhooks(ctx, micros(now))
	if err != nil {
		return nil, fmt.Errorf("look for deliveries: %w", err)
	}
	list := make([]DueWebhook, len(rows))
	for i, row := range rows {
		list[i] = DueWebhook{ID: row.WebhookID, TeamID: row.TeamID}
	}
	return list, nil
}

// ClaimDeliveries returns deliveries of a webhook to be tried now, one of each sandbox. Until the
// given time nobody else gets them.
func (s *Store) ClaimDeliveries(
	ctx context.Context, webhookID, claimer string, now, until time.Time, most int,
) ([]shoal.Delivery, error) {
	rows, err := s.q.ClaimDeliveries(ctx, sqlcgen.ClaimDeliveriesParams{ClaimedBy: claimer, Until: micros(until),
		Now: micros(now), WebhookID: webhookID, Most: int32(most)})
	if err != nil {
		return nil, fmt.Errorf("claim deliveries: %w", err)
	}
	list := deliveriesOf(rows)
	slices.SortFunc(list, func(a, b shoal.Delivery) int {
		return cmp.Or(a.NextAt.Compare(b.NextAt), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Number, b.Number),
			cmp.Compare(a.SandboxID, b.SandboxID))
	})
	return list, nil
}

// ReleaseDeliveries lets others try what a claimer has claimed.
func (s *Store) ReleaseDeliveries(ctx context.Context, claimer string) error {
	return lookup(s.q.ReleaseDeliveries(ctx, claimer), "release deliveries")
}

// EndAttempt stores how an attempt went: the status, the last attempt and, of one that is still
// pending, when it is tried next. The next delivery of the sandbox may go once it has ended. ErrNotFound
// if the claimer has it no more.
func (s *Store) EndAttempt(ctx context.Context, d shoal.Delivery, claimer string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if _, err := q.LockEvents(ctx, d.TeamID); err != nil {
			return fmt.Errorf("end a delivery: %w", err)
		}
		row, err := q.DeliveryByID(ctx,
			sqlcgen.DeliveryByIDParams{ID: d.ID, WebhookID: d.WebhookID, TeamID: d.TeamID})
		if err != nil {
			return lookup(err, "find a delivery")
		}
		n, err := q.EndAttempt(ctx, sqlcgen.EndAttemptParams{ID: d.ID, ClaimedBy: claimer, Status: string(d.Status),
			NextAt: micros(d.NextAt), TriedAt: micros(d.Last.At), DurationUs: d.Last.Duration.Microseconds(),
			RequestHeaders: headersText(d.Last.RequestHeaders), ResponseStatus: int64(d.Last.ResponseStatus),
			ResponseHeaders: headersText(d.Last.ResponseHeaders), ResponseBody: d.Last.ResponseBody,
			ErrorClass: d.Last.ErrorClass, ErrorMessage: d.Last.ErrorMessage})
		if err := changed(n, err, ErrNotFound, "end a delivery"); err != nil {
			return err
		}
		if d.Status == shoal.DeliveryPending {
			return nil
		}
		return closeDelivery(ctx, q, d.WebhookID, row.Queue, time.Now())
	})
}

// closeDelivery lets the next one of the queue go.
func closeDelivery(ctx context.Context, q *sqlcgen.Queries, webhookID, queue string, now time.Time) error {
	if err := q.CloseDelivery(ctx, webhookID); err != nil {
		return fmt.Errorf("end a delivery: %w", err)
	}
	err := q.PromoteDelivery(ctx,
		sqlcgen.PromoteDeliveryParams{Now: micros(now), WebhookID: webhookID, Queue: queue})
	if err != nil {
		return fmt.Errorf("begin the next delivery: %w", err)
	}
	return nil
}

// PostponeDeliveries leaves a webhook alone until a time.
func (s *Store) PostponeDeliveries(ctx context.Context, webhookID string, until time.Time) error {
	err := s.q.PostponeDeliveries(ctx,
		sqlcgen.PostponeDeliveriesParams{WebhookID: webhookID, Until: micros(until)})
	return lookup(err, "postpone deliveries")
}

// HastenDeliveries has all deliveries of a webhook that has recovered tried now.
func (s *Store) HastenDeliveries(ctx context.Context, webhookID string, now time.Time) error {
	err := s.q.HastenDeliveries(ctx, sqlcgen.HastenDeliveriesParams{WebhookID: webhookID, Now: micros(now)})
	return lookup(err, "hasten deliveries")
}

// GiveUpDeliveries ends the deliveries that were opened before a time.
func (s *Store) GiveUpDeliveries(ctx context.Context, since, now time.Time, class, message string) error {
	for {
		var n int
		err := s.inTx(ctx, func(q *sqlcgen.Queries) error {
			rows, err := q.OverdueDeliveries(ctx,
				sqlcgen.OverdueDeliveriesParams{Since: micros(since), Now: micros(now), Most: dropAtOnce})
			if err != nil {
				return err
			}
			n = len(rows)
			for _, row := range rows {
				if _, err := q.LockEvents(ctx, row.TeamID); err != nil {
					return err
				}
				ended, err := q.GiveUpDelivery(ctx, sqlcgen.GiveUpDeliveryParams{ID: row.ID,
					ClaimedUntil: micros(now), ErrorClass: class, ErrorMessage: message})
				if err == nil && ended > 0 {
					err = closeDelivery(ctx, q, row.WebhookID, row.Queue, now)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("give up deliveries: %w", err)
		}
		if n < dropAtOnce {
			return nil
		}
	}
}

// DropDeliveries removes deliveries that ended and were opened before a time, and of each webhook
// the oldest beyond a number.
func (s *Store) DropDeliveries(ctx context.Context, before time.Time, most int) error {
	for {
		n, err := s.q.DropOldDeliveries(ctx,
			sqlcgen.DropOldDeliveriesParams{Before: micros(before), Most: dropAtOnce})
		if err != nil {
			return fmt.Errorf("remove old deliveries: %w", err)
		}
		if n < dropAtOnce {
			break
		}
	}
	hooks, err := s.q.WebhookIDs(ctx)
	if err != nil {
		return fmt.Errorf("list webhooks: %w", err)
	}
	for _, id := range hooks {
		_, err := s.q.DropExcessDeliveries(ctx,
			sqlcgen.DropExcessDeliveriesParams{WebhookID: id, Most: int32(most - 1)})
		if err != nil {
			return fmt.Errorf("remove deliveries beyond their number: %w", err)
		}
	}
	return nil
}

// Delivery returns a delivery of one of a team's webhooks.
func (s *Store) Delivery(ctx context.Context, teamID, webhookID, id string) (shoal.Delivery, error) {
	row, err := s.q.DeliveryByID(ctx, sqlcgen.DeliveryByIDParams{ID: id, WebhookID: webhookID, TeamID: teamID})
	if err != nil {
		return shoal.Delivery{}, lookup(err, "find a delivery")
	}
	return deliveryOf(row), nil
}

// Deliveries returns deliveries of one of a team's webhooks, newest first.
func (s *Store) Deliveries(
	ctx context.Context, teamID, webhookID string, limit, offset int,
) ([]shoal.Delivery, error) {
	rows, err := s.q.ListDeliveries(ctx, sqlcgen.ListDeliveriesParams{WebhookID: webhookID, TeamID: teamID,
		Limit: int32(limit), Offset: int32(offset)})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return deliveriesOf(rows), nil
}

func deliveriesOf(rows []sqlcgen.Delivery) []shoal.Delivery {
	list := make([]shoal.Delivery, len(rows))
	for i, row := range rows {
		list[i] = deliveryOf(row)
	}
	return list
}

func deliveryOf(row sqlcgen.Delivery) shoal.Delivery {
	return shoal.Delivery{ID: row.ID, WebhookID: row.WebhookID, TeamID: row.TeamID, EventID: row.EventID,
		EventType: shoal.EventType(row.EventType), SandboxID: row.SandboxID, Number: row.Number,
		Status: shoal.DeliveryStatus(row.Status), Attempts: int(row.Attempts), CreatedAt: fromMicros(row.CreatedAt),
		NextAt: fromMicros(row.NextAt), Test: row.Test,
		Last: shoal.Attempt{At: fromMicros(row.TriedAt), Duration: time.Duration(row.DurationUs) * time.Microsecond,
			RequestHeaders: headersOf(row.RequestHeaders), ResponseStatus: int(row.ResponseStatus),
			ResponseHeaders: headersOf(row.ResponseHeaders), ResponseBody: row.ResponseBody,
			ErrorClass: row.ErrorClass, ErrorMessage: row.ErrorMessage}}
}

func headersText(headers map[string]string) string {
	if len(headers) == 0 {
		return "{}"
	}
	text, _ := json.Marshal(headers) // strings always encode
	return string(text)
}

func headersOf(text string) map[string]string {
	headers := map[string]string{}
	_ = json.Unmarshal([]byte(text), &headers) // it was made by headersText
	return headers
}
