-- name: InsertUser :execrows
INSERT INTO users (id, email, created_at, service_team) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: UserByEmail :one
SELECT * FROM users WHERE email = $1;

-- name: ListUsers :many
SELECT * FROM users ORDER BY created_at, id;

-- name: DeleteUser :execrows
DELETE FROM users WHERE id = $1;

-- name: InsertMembership :execrows
INSERT INTO memberships (user_id, team_id, role, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: SetRole :execrows
UPDATE memberships SET role = $3 WHERE user_id = $1 AND team_id = $2;

-- name: ClearDefaultTeam :exec
UPDATE memberships SET is_default = FALSE WHERE user_id = $1 AND is_default;

-- name: SetDefaultTeam :execrows
UPDATE memberships SET is_default = TRUE WHERE user_id = $1 AND team_id = $2;

-- name: CountMemberships :one
SELECT COUNT(*) FROM memberships WHERE user_id = $1;

-- name: DeleteMembership :execrows
DELETE FROM memberships WHERE user_id = $1 AND team_id = $2;

-- name: ListMembers :many
SELECT sqlc.embed(users), memberships.role, memberships.is_default
FROM memberships JOIN users ON users.id = memberships.user_id
WHERE memberships.team_id = $1 ORDER BY memberships.created_at, users.id;

-- name: ListMemberships :many
SELECT sqlc.embed(teams), tiers.limits AS tier_limits, memberships.role, memberships.is_default
FROM memberships JOIN teams ON teams.id = memberships.team_id JOIN tiers ON tiers.name = teams.tier
WHERE memberships.user_id = $1 ORDER BY memberships.created_at, teams.id;

-- name: MembershipByTeam :one
SELECT sqlc.embed(teams), tiers.limits AS tier_limits, memberships.role, memberships.is_default
FROM memberships JOIN teams ON teams.id = memberships.team_id JOIN tiers ON tiers.name = teams.tier
WHERE memberships.user_id = $1 AND memberships.team_id = $2;

-- name: DefaultMembership :one
SELECT sqlc.embed(teams), tiers.limits AS tier_limits, memberships.role, memberships.is_default
FROM memberships JOIN teams ON teams.id = memberships.team_id JOIN tiers ON tiers.name = teams.tier
WHERE memberships.user_id = $1 AND memberships.is_default;

-- name: InsertIdentity :execrows
INSERT INTO identities (issuer, subject, user_id, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: UserByIdentity :one
SELECT users.* FROM identities JOIN users ON users.id = identities.user_id
WHERE identities.issuer = $1 AND identities.subject = $2;

-- name: ListIdentities :many
SELECT * FROM identities WHERE user_id = $1 ORDER BY issuer;

-- name: CountIdentities :one
SELECT COUNT(*) FROM identities WHERE issuer = $1;

-- name: DeleteIdentity :execrows
DELETE FROM identities WHERE user_id = $1 AND issuer = $2;

-- name: InsertAccessToken :execrows
INSERT INTO access_tokens (id, user_id, name, hash, mask_prefix, mask_suffix, length, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING;

-- name: AccessTokenOwner :one
SELECT sqlc.embed(users), sqlc.embed(access_tokens)
FROM access_tokens JOIN users ON users.id = access_tokens.user_id
WHERE access_tokens.hash = $1;

-- name: ListAccessTokens :many
SELECT * FROM access_tokens WHERE user_id = $1 ORDER BY created_at, id;

-- name: CountAccessTokens :one
SELECT COUNT(*) FROM access_tokens WHERE user_id = $1;

-- name: DeleteAccessToken :execrows
DELETE FROM access_tokens WHERE id = $1 AND user_id = $2;

-- name: LockUser :execrows
UPDATE users SET email = email WHERE id = $1;
