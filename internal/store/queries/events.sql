-- name: LockEvents :one
INSERT INTO event_usage (team_id, bytes) VALUES ($1, 0)
ON CONFLICT (team_id) DO UPDATE SET bytes = event_usage.bytes
RETURNING bytes;

-- name: InsertEvent :execrows
INSERT INTO events (id, team_id, sandbox_id, number, type, execution_id, template_id, build_id, data,
                    bytes, at, stored_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT DO NOTHING;

-- name: AddEventUsage :exec
UPDATE event_usage SET bytes = bytes + $2 WHERE team_id = $1;

-- name: DropOldestEvents :many
DELETE FROM events WHERE id IN (
    SELECT oldest.id FROM events oldest WHERE oldest.team_id = $1
    ORDER BY oldest.at, oldest.number LIMIT $2)
RETURNING bytes;

-- name: DropExpiredEvents :many
DELETE FROM events WHERE id IN (
    SELECT old.id FROM events old WHERE old.expires_at < $1 LIMIT $2)
RETURNING team_id, bytes;

-- name: EventByID :one
SELECT * FROM events WHERE id = $1 AND team_id = $2;

-- The types are between commas.
-- name: TeamEvents :many
SELECT * FROM events
WHERE team_id = $1 AND at >= sqlc.arg(since) AND CAST(sqlc.arg(types) AS TEXT) LIKE '%,' || type || ',%'
ORDER BY at DESC, number DESC LIMIT $2 OFFSET $3;

-- name: TeamEventsOldestFirst :many
SELECT * FROM events
WHERE team_id = $1 AND at >= sqlc.arg(since) AND CAST(sqlc.arg(types) AS TEXT) LIKE '%,' || type || ',%'
ORDER BY at, number LIMIT $2 OFFSET $3;

-- name: SandboxEvents :many
SELECT * FROM events
WHERE sandbox_id = $1 AND team_id = $2 AND at >= sqlc.arg(since) AND CAST(sqlc.arg(types) AS TEXT) LIKE '%,' || type || ',%'
ORDER BY number DESC LIMIT $3 OFFSET $4;

-- name: SandboxEventsOldestFirst :many
SELECT * FROM events
WHERE sandbox_id = $1 AND team_id = $2 AND at >= sqlc.arg(since) AND CAST(sqlc.arg(types) AS TEXT) LIKE '%,' || type || ',%'
ORDER BY number LIMIT $3 OFFSET $4;

-- name: EventsStoredSince :many
SELECT * FROM events WHERE team_id = $1 AND stored_at >= $2
ORDER BY stored_at, at, number LIMIT $3;

-- name: CountEvents :one
SELECT count(*) FROM events
WHERE team_id = $1 AND (CAST(sqlc.arg(sandbox) AS TEXT) = '' OR sandbox_id = sqlc.arg(sandbox))
    AND at >= sqlc.arg(since) AND CAST(sqlc.arg(types) AS TEXT) LIKE '%,' || type || ',%';

-- name: OldestEvent :one
SELECT at FROM events WHERE team_id = $1 ORDER BY at, number LIMIT 1;

-- name: UncopiedEvents :many
SELECT * FROM events WHERE copied = FALSE ORDER BY at, number LIMIT $1;

-- name: OldestUncopiedEvent :one
SELECT at FROM events WHERE copied = FALSE ORDER BY at LIMIT 1;

-- name: MarkEventCopied :exec
UPDATE events SET copied = TRUE WHERE id = $1 AND copied = FALSE;

-- name: MarkEventsUncopied :exec
UPDATE events SET copied = FALSE WHERE copied = TRUE;
