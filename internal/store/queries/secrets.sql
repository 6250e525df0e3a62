-- name: InsertSecret :execrows
INSERT INTO secrets (id, team_id, name, version, sealed, metadata, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING;

-- name: CountSecrets :one
SELECT COUNT(*) FROM secrets WHERE team_id = $1;

-- IDs are no names, as no name begins with sec_.
-- name: Secret :one
SELECT * FROM secrets WHERE team_id = $1 AND (id = $2 OR name = $2);

-- name: ListSecrets :many
SELECT id, team_id, name, version, metadata, created_at, updated_at FROM secrets
WHERE team_id = $1 AND created_at <= sqlc.arg(at) AND (created_at < sqlc.arg(at) OR id < sqlc.arg(id))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(most);

-- name: UpdateSecret :execrows
UPDATE secrets SET version = $3, sealed = $4, metadata = $5, updated_at = $6
WHERE id = $1 AND version = $2;

-- name: DeleteSecret :execrows
DELETE FROM secrets WHERE team_id = $1 AND id = $2;

-- name: InsertIdentityKey :execrows
INSERT INTO identity_keys (id, public, sealed, created_at, signs_from)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: ListIdentityKeys :many
SELECT * FROM identity_keys ORDER BY signs_from, created_at, id;

-- name: DeleteIdentityKey :exec
DELETE FROM identity_keys WHERE id = $1;
