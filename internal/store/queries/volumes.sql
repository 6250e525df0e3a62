-- name: InsertVolume :execrows
INSERT INTO volumes (id, team_id, name, backend, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: CountVolumes :one
SELECT COUNT(*) FROM volumes WHERE team_id = $1 AND removed_at = 0;

-- name: ListVolumes :many
SELECT * FROM volumes WHERE team_id = $1 AND removed_at = 0 ORDER BY created_at, id;

-- name: VolumeByID :one
SELECT * FROM volumes WHERE id = $1 AND team_id = $2 AND removed_at = 0;

-- A removed volume gives its name back.
-- name: RemoveVolume :execrows
UPDATE volumes SET removed_at = $3, name = 'removed ' || id WHERE id = $1 AND team_id = $2 AND removed_at = 0;

-- name: RemovedVolumes :many
SELECT * FROM volumes WHERE removed_at > 0 ORDER BY removed_at LIMIT 100;

-- name: DeleteVolume :exec
DELETE FROM volumes WHERE id = $1 AND removed_at > 0;
