-- name: InsertWebhook :execrows
INSERT INTO webhooks (id, team_id, name, url, enabled, events, secret, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING;

-- name: CountWebhooks :one
SELECT COUNT(*) FROM webhooks WHERE team_id = $1;

-- name: WebhookByID :one
SELECT * FROM webhooks WHERE id = $1 AND team_id = $2;

-- name: WebhookToSend :one
SELECT * FROM webhooks WHERE id = $1;

-- name: ListWebhooks :many
SELECT * FROM webhooks WHERE team_id = $1 ORDER BY created_at, id;

-- name: UpdateWebhook :execrows
UPDATE webhooks SET name = $3, url = $4, enabled = $5, events = $6, secret = $7
WHERE id = $1 AND team_id = $2;

-- name: DeleteWebhook :execrows
DELETE FROM webhooks WHERE id = $1 AND team_id = $2;

-- name: OpenDelivery :execrows
UPDATE webhooks SET open_deliveries = open_deliveries + 1 WHERE id = $1 AND open_deliveries < $2;

-- name: CloseDelivery :exec
UPDATE webhooks SET open_deliveries = open_deliveries - 1 WHERE id = $1;
