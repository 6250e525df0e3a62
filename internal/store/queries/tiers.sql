-- name: InsertTier :execrows
INSERT INTO tiers (name, limits, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: LockTier :one
UPDATE tiers SET name = name WHERE name = $1 RETURNING limits;

-- name: ListTiers :many
SELECT tiers.name, tiers.limits, (SELECT COUNT(*) FROM teams WHERE teams.tier = tiers.name) AS teams
FROM tiers ORDER BY tiers.created_at, tiers.name;

-- name: SetTierLimits :execrows
UPDATE tiers SET limits = $2 WHERE name = $1;

-- name: CountTeamsOfTier :one
SELECT COUNT(*) FROM teams WHERE tier = $1;

-- name: DeleteTier :execrows
DELETE FROM tiers WHERE name = $1;
