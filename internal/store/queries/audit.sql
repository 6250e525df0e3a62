-- Nothing here changes a row, and TestAuditIsAppendOnly sees to it.

-- name: InsertAudit :exec
INSERT INTO audit (id, at, team_id, actor_kind, actor_id, user_id, actor_name, operation, target_kind, target_id,
                   address, agent, request_id, status, error_code, count)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT DO NOTHING;

-- An empty filter lets everything through.
-- name: Audit :many
SELECT * FROM audit
WHERE at >= sqlc.arg(since) AND at <= sqlc.arg(at) AND (at < sqlc.arg(at) OR id < sqlc.arg(id))
  AND (CAST(sqlc.arg(actor) AS TEXT) = '' OR actor_id = sqlc.arg(actor) OR user_id = sqlc.arg(actor)
       OR actor_kind = sqlc.arg(actor) OR actor_name = sqlc.arg(actor))
  AND (CAST(sqlc.arg(operation) AS TEXT) = '' OR operation = sqlc.arg(operation))
  AND (CAST(sqlc.arg(target) AS TEXT) = '' OR target_id = sqlc.arg(target) OR target_kind = sqlc.arg(target))
ORDER BY at DESC, id DESC LIMIT sqlc.arg(most);

-- name: AuditOldestFirst :many
SELECT * FROM audit
WHERE at <= sqlc.arg(until) AND at >= sqlc.arg(at) AND (at > sqlc.arg(at) OR id > sqlc.arg(id))
  AND (CAST(sqlc.arg(actor) AS TEXT) = '' OR actor_id = sqlc.arg(actor) OR user_id = sqlc.arg(actor)
       OR actor_kind = sqlc.arg(actor) OR actor_name = sqlc.arg(actor))
  AND (CAST(sqlc.arg(operation) AS TEXT) = '' OR operation = sqlc.arg(operation))
  AND (CAST(sqlc.arg(target) AS TEXT) = '' OR target_id = sqlc.arg(target) OR target_kind = sqlc.arg(target))
ORDER BY at, id LIMIT sqlc.arg(most);

-- name: TeamAudit :many
SELECT * FROM audit
WHERE team_id = sqlc.arg(team)
  AND at >= sqlc.arg(since) AND at <= sqlc.arg(at) AND (at < sqlc.arg(at) OR id < sqlc.arg(id))
  AND (CAST(sqlc.arg(actor) AS TEXT) = '' OR actor_id = sqlc.arg(actor) OR user_id = sqlc.arg(actor)
       OR actor_kind = sqlc.arg(actor) OR actor_name = sqlc.arg(actor))
  AND (CAST(sqlc.arg(operation) AS TEXT) = '' OR operation = sqlc.arg(operation))
  AND (CAST(sqlc.arg(target) AS TEXT) = '' OR target_id = sqlc.arg(target) OR target_kind = sqlc.arg(target))
ORDER BY at DESC, id DESC LIMIT sqlc.arg(most);

-- name: TeamAuditOldestFirst :many
SELECT * FROM audit
WHERE team_id = sqlc.arg(team)
  AND at <= sqlc.arg(until) AND at >= sqlc.arg(at) AND (at > sqlc.arg(at) OR id > sqlc.arg(id))
  AND (CAST(sqlc.arg(actor) AS TEXT) = '' OR actor_id = sqlc.arg(actor) OR user_id = sqlc.arg(actor)
       OR actor_kind = sqlc.arg(actor) OR actor_name = sqlc.arg(actor))
  AND (CAST(sqlc.arg(operation) AS TEXT) = '' OR operation = sqlc.arg(operation))
  AND (CAST(sqlc.arg(target) AS TEXT) = '' OR target_id = sqlc.arg(target) OR target_kind = sqlc.arg(target))
ORDER BY at, id LIMIT sqlc.arg(most);

-- name: DropOldAudit :execrows
DELETE FROM audit WHERE id IN (
    SELECT old.id FROM audit old WHERE old.at < $1 ORDER BY old.at LIMIT $2);

-- name: CountAudit :many
SELECT team_id, COUNT(*) AS entries FROM audit GROUP BY team_id;

-- name: DropOldestAudit :execrows
DELETE FROM audit WHERE id IN (
    SELECT old.id FROM audit old WHERE old.team_id = $1 ORDER BY old.at, old.id LIMIT $2);
