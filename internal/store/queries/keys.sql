-- name: InsertKey :execrows
INSERT INTO api_keys (id, team_id, name, hash, mask_prefix, mask_suffix, length, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING;

-- name: ListKeys :many
SELECT * FROM api_keys WHERE team_id = $1 ORDER BY created_at, id;

-- name: DeleteKey :execrows
DELETE FROM api_keys WHERE id = $1 AND team_id = $2;

-- name: TouchKey :exec
UPDATE api_keys SET last_used = $2 WHERE id = $1 AND last_used < $2;
