-- name: InsertTeam :execrows
INSERT INTO teams (id, name, slug, created_at, may_publish, tier, limits)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING;

-- name: TeamByID :one
SELECT sqlc.embed(teams), tiers.limits AS tier_limits
FROM teams JOIN tiers ON tiers.name = teams.tier WHERE teams.id = $1;

-- name: TeamBySlug :one
SELECT sqlc.embed(teams), tiers.limits AS tier_limits
FROM teams JOIN tiers ON tiers.name = teams.tier WHERE teams.slug = $1;

-- name: TeamByKeyHash :one
SELECT sqlc.embed(teams), tiers.limits AS tier_limits, sqlc.embed(api_keys)
FROM api_keys JOIN teams ON teams.id = api_keys.team_id JOIN tiers ON tiers.name = teams.tier
WHERE api_keys.hash = $1;

-- name: ListTeams :many
SELECT sqlc.embed(teams), tiers.limits AS tier_limits
FROM teams JOIN tiers ON tiers.name = teams.tier ORDER BY teams.created_at, teams.id;

-- name: SetTeamStanding :execrows
UPDATE teams SET blocked = $2, blocked_reason = $3, banned = $4 WHERE id = $1;

-- name: SetTeamMayPublish :execrows
UPDATE teams SET may_publish = $2 WHERE id = $1;

-- name: SetTeamLimits :execrows
UPDATE teams SET tier = $2, limits = $3 WHERE id = $1;

-- name: CountKept :one
SELECT (SELECT COUNT(*) FROM templates WHERE templates.team_id = $1 AND templates.deleted_at = 0) AS templates,
       (SELECT COUNT(*) FROM builds JOIN templates ON templates.id = builds.template_id
        WHERE templates.team_id = $1 AND templates.deleted_at = 0 AND builds.status <> 'error') AS builds;

-- name: CountTemplates :one
SELECT COUNT(*) FROM templates WHERE team_id = $1 AND source = 'template' AND deleted_at = 0;

-- name: LockTeam :execrows
UPDATE teams SET name = name WHERE id = $1;
