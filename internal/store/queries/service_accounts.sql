-- name: CountServiceAccounts :one
SELECT COUNT(*) FROM users WHERE service_team = $1;

-- name: ListServiceAccounts :many
SELECT sqlc.embed(users), CAST(COALESCE(memberships.role, '') AS TEXT) AS role
FROM users LEFT JOIN memberships ON memberships.user_id = users.id AND memberships.team_id = users.service_team
WHERE users.service_team = $1 ORDER BY users.created_at, users.id;

-- name: ServiceAccount :one
SELECT sqlc.embed(users), CAST(COALESCE(memberships.role, '') AS TEXT) AS role
FROM users LEFT JOIN memberships ON memberships.user_id = users.id AND memberships.team_id = users.service_team
WHERE users.service_team = $1 AND users.id = $2;

-- name: DeleteServiceAccount :execrows
DELETE FROM users WHERE service_team = $1 AND id = $2;

-- name: DeleteOwnedKeys :exec
DELETE FROM api_keys WHERE owner = $1;
