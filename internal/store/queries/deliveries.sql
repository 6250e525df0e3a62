-- name: InsertDelivery :exec
INSERT INTO deliveries (id, webhook_id, team_id, event_id, event_type, sandbox_id, number, queue, status,
                        test, created_at, next_at, error_class, error_message)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: IsQueueBusy :one
SELECT EXISTS (SELECT 1 FROM deliveries
               WHERE webhook_id = $1 AND queue = $2 AND status IN ('waiting', 'pending'));

-- name: DueWebhooks :many
SELECT DISTINCT deliveries.webhook_id, deliveries.team_id
FROM deliveries JOIN webhooks ON webhooks.id = deliveries.webhook_id
WHERE deliveries.status = 'pending' AND deliveries.next_at <= sqlc.arg(now)
  AND deliveries.claimed_until < sqlc.arg(now) AND webhooks.enabled
LIMIT 1000;

-- Of two apis that choose the same rows, the one that is later finds them claimed.
-- name: ClaimDeliveries :many
UPDATE deliveries SET claimed_by = sqlc.arg(claimed_by), claimed_until = sqlc.arg(until)
WHERE deliveries.status = 'pending' AND deliveries.claimed_until < sqlc.arg(now) AND deliveries.id IN (
    SELECT due.id FROM deliveries due
    WHERE due.webhook_id = sqlc.arg(webhook_id) AND due.status = 'pending'
      AND due.next_at <= sqlc.arg(now) AND due.claimed_until < sqlc.arg(now)
    ORDER BY due.next_at, due.created_at, due.number LIMIT sqlc.arg(most))
RETURNING *;

-- name: ReleaseDeliveries :exec
UPDATE deliveries SET claimed_by = '', claimed_until = 0 WHERE status = 'pending' AND claimed_by = $1;

-- name: EndAttempt :execrows
UPDATE deliveries SET status = $3, next_at = $4, attempts = attempts + 1, claimed_by = '', claimed_until = 0,
    tried_at = $5, duration_us = $6, request_headers = $7, response_status = $8, response_headers = $9,
    response_body = $10, error_class = $11, error_message = $12
WHERE id = $1 AND claimed_by = $2 AND status = 'pending';

-- name: PromoteDelivery :exec
UPDATE deliveries SET status = 'pending', next_at = sqlc.arg(now) WHERE deliveries.id = (
    SELECT waiting.id FROM deliveries waiting
    WHERE waiting.webhook_id = sqlc.arg(webhook_id) AND waiting.queue = sqlc.arg(queue) AND waiting.status = 'waiting'
      AND NOT EXISTS (SELECT 1 FROM deliveries ahead WHERE ahead.webhook_id = sqlc.arg(webhook_id)
                      AND ahead.queue = sqlc.arg(queue) AND ahead.status = 'pending')
    ORDER BY waiting.number LIMIT 1);

-- name: PostponeDeliveries :exec
UPDATE deliveries SET next_at = sqlc.arg(until)
WHERE webhook_id = sqlc.arg(webhook_id) AND status = 'pending' AND next_at < sqlc.arg(until);

-- name: HastenDeliveries :exec
UPDATE deliveries SET next_at = sqlc.arg(now)
WHERE webhook_id = sqlc.arg(webhook_id) AND status = 'pending' AND next_at > sqlc.arg(now);

-- name: OverdueDeliveries :many
SELECT id, webhook_id, team_id, queue FROM deliveries
WHERE status IN ('waiting', 'pending') AND created_at < sqlc.arg(since) AND claimed_until < sqlc.arg(now)
ORDER BY team_id, webhook_id LIMIT sqlc.arg(most);

-- name: GiveUpDelivery :execrows
UPDATE deliveries SET status = 'failed', error_class = $3, error_message = $4
WHERE id = $1 AND status IN ('waiting', 'pending') AND claimed_until < $2;

-- name: DeliveryByID :one
SELECT * FROM deliveries WHERE id = $1 AND webhook_id = $2 AND team_id = $3;

-- name: ListDeliveries :many
SELECT * FROM deliveries WHERE webhook_id = $1 AND team_id = $2
ORDER BY created_at DESC, number DESC, id LIMIT $3 OFFSET $4;

-- name: DropOldDeliveries :execrows
DELETE FROM deliveries WHERE id IN (
    SELECT old.id FROM deliveries old
    WHERE old.status IN ('delivered', 'failed') AND old.created_at < sqlc.arg(before) LIMIT sqlc.arg(most));

-- name: DropExcessDeliveries :execrows
DELETE FROM deliveries WHERE deliveries.webhook_id = sqlc.arg(webhook_id)
  AND deliveries.status IN ('delivered', 'failed') AND deliveries.created_at < (
    SELECT kept.created_at FROM deliveries kept WHERE kept.webhook_id = sqlc.arg(webhook_id)
    ORDER BY kept.created_at DESC LIMIT 1 OFFSET sqlc.arg(most));

-- name: WebhookIDs :many
SELECT id FROM webhooks ORDER BY id;
