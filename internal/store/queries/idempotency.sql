-- name: CreationByKey :one
SELECT * FROM idempotency_keys WHERE team_id = $1 AND key = $2 AND created_at >= $3;

-- name: InsertCreation :execrows
INSERT INTO idempotency_keys (team_id, key, digest, sandbox_id, server, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;

-- name: MoveCreation :execrows
UPDATE idempotency_keys SET sandbox_id = $4
WHERE team_id = $1 AND key = $2 AND sandbox_id = $3 AND answer = '';

-- name: EndCreation :execrows
UPDATE idempotency_keys SET answer = $4 WHERE team_id = $1 AND key = $2 AND sandbox_id = $3;

-- name: DeleteCreation :exec
DELETE FROM idempotency_keys WHERE team_id = $1 AND key = $2 AND sandbox_id = $3 AND answer = '';

-- name: DeleteOldCreations :exec
DELETE FROM idempotency_keys WHERE created_at < $1;

-- name: DeleteExcessCreations :exec
DELETE FROM idempotency_keys
WHERE idempotency_keys.team_id = $1 AND idempotency_keys.created_at < (
    SELECT kept.created_at FROM idempotency_keys kept WHERE kept.team_id = $1
    ORDER BY kept.created_at DESC LIMIT 1 OFFSET $2);
