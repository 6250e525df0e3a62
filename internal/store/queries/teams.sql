-- name: InsertTeam :execrows
INSERT INTO teams (id, name, slug, concurrent_sandboxes, max_length_hours, max_cpu, max_memory_mb,
                   concurrent_builds, disk_mb, created_at, may_publish, sandboxes, builds,
                   storage_gb, event_days)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT DO NOTHING;

-- name: TeamByID :one
SELECT * FROM teams WHERE id = $1;

-- name: TeamBySlug :one
SELECT * FROM teams WHERE slug = $1;

-- name: TeamByKeyHash :one
SELECT sqlc.embed(teams), sqlc.embed(api_keys)
FROM api_keys JOIN teams ON teams.id = api_keys.team_id
WHERE api_keys.hash = $1;

-- name: ListTeams :many
SELECT * FROM teams ORDER BY created_at, id;

-- name: SetTeamStanding :execrows
UPDATE teams SET blocked = $2, blocked_reason = $3, banned = $4 WHERE id = $1;

-- name: SetTeamMayPublish :execrows
UPDATE teams SET may_publish = $2 WHERE id = $1;

-- name: SetTeamLimits :execrows
UPDATE teams SET concurrent_sandboxes = $2, max_length_hours = $3, max_cpu = $4, max_memory_mb = $5,
                 concurrent_builds = $6, disk_mb = $7, sandboxes = $8, builds = $9, storage_gb = $10,
                 event_days = $11
WHERE id = $1;

-- name: CountKept :one
SELECT (SELECT COUNT(*) FROM templates WHERE templates.team_id = $1 AND templates.deleted_at = 0) AS templates,
       (SELECT COUNT(*) FROM builds JOIN templates ON templates.id = builds.template_id
        WHERE templates.team_id = $1 AND templates.deleted_at = 0 AND builds.status <> 'error') AS builds;

-- name: LockTeam :execrows
UPDATE teams SET name = name WHERE id = $1;
