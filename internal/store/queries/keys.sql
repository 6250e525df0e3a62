-- name: InsertKey :execrows
INSERT INTO api_keys (id, team_id, name, hash, mask_prefix, mask_suffix, length, created_at,
                      created_by, scopes, expires_at, login, owner)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT DO NOTHING;

-- name: ListKeys :many
SELECT * FROM api_keys WHERE team_id = $1 ORDER BY created_at, id;

-- name: CountKeys :one
SELECT COUNT(*) FROM api_keys WHERE team_id = $1;

-- name: RenameKey :execrows
UPDATE api_keys SET name = $3 WHERE id = $1 AND team_id = $2;

-- name: KeyByID :one
SELECT * FROM api_keys WHERE id = $1 AND team_id = $2;

-- name: DeleteKey :execrows
DELETE FROM api_keys WHERE id = $1 AND team_id = $2;

-- name: DeleteLoginKeys :exec
DELETE FROM api_keys WHERE team_id = $1 AND created_by = $2 AND login;

-- name: DeleteLoginKeysOfUser :exec
DELETE FROM api_keys WHERE created_by = $1 AND login;

-- Of a user's login keys in a team, those unused for longest beyond the given number.
-- name: DeleteStaleLoginKeys :exec
DELETE FROM api_keys WHERE api_keys.id IN (
    SELECT stale.id FROM api_keys stale WHERE stale.team_id = $1 AND stale.created_by = $2 AND stale.login
    ORDER BY CASE WHEN stale.last_used > stale.created_at THEN stale.last_used ELSE stale.created_at END DESC,
             stale.id
    LIMIT 1000000 OFFSET $3);

-- name: TouchKey :exec
UPDATE api_keys SET last_used = $2 WHERE id = $1 AND last_used < $2;
