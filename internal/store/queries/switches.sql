-- name: ListSwitches :many
SELECT * FROM switches WHERE team_id = '' OR team_id = $1;

-- name: ListPositions :many
SELECT team_id, is_on FROM switches WHERE name = $1;

-- name: SetSwitch :exec
INSERT INTO switches (team_id, name, is_on) VALUES ($1, $2, $3)
ON CONFLICT (team_id, name) DO UPDATE SET is_on = excluded.is_on;

-- name: ResetSwitch :exec
DELETE FROM switches WHERE team_id = $1 AND name = $2;
