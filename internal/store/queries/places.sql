-- name: PlacesOfTeam :many
SELECT sandbox_id FROM places WHERE team_id = $1 AND expires_at > $2;

-- name: UpsertPlace :exec
INSERT INTO places (sandbox_id, team_id, node, stamp, held_until, expires_at)
VALUES ($1, $2, '', $3, $4, $4)
ON CONFLICT (sandbox_id) DO UPDATE SET stamp = excluded.stamp, held_until = excluded.held_until,
    expires_at = CASE WHEN places.expires_at > excluded.expires_at THEN places.expires_at
        ELSE excluded.expires_at END;

-- name: SettlePlace :exec
INSERT INTO places (sandbox_id, team_id, node, stamp, held_until, expires_at)
VALUES ($1, $2, $3, $4, 0, $5)
ON CONFLICT (sandbox_id) DO UPDATE SET node = excluded.node, held_until = 0, expires_at = excluded.expires_at;

-- name: KeepPlace :exec
INSERT INTO places (sandbox_id, team_id, node, stamp, held_until, expires_at)
VALUES ($1, $2, $3, $4, 0, $5)
ON CONFLICT (sandbox_id) DO UPDATE SET node = excluded.node, expires_at = excluded.expires_at;

-- name: ReleasePlace :exec
DELETE FROM places WHERE sandbox_id = $1 AND stamp = $2;

-- name: UnholdPlace :exec
UPDATE places SET held_until = 0 WHERE sandbox_id = $1 AND stamp = $2;

-- name: FreePlace :exec
DELETE FROM places WHERE sandbox_id = $1 AND held_until <= $2;

-- name: DropPlace :exec
DELETE FROM places WHERE sandbox_id = $1 AND stamp = $2 AND held_until <= $3;

-- name: PlacesOn :many
SELECT * FROM places WHERE node = $1;

-- name: DeleteExpiredPlaces :exec
DELETE FROM places WHERE expires_at <= $1;
