-- name: UpsertTally :exec
INSERT INTO tallies (team_id, from_at, node_id, until_at, counts) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (team_id, from_at, node_id) DO UPDATE SET until_at = excluded.until_at, counts = excluded.counts
WHERE excluded.until_at > tallies.until_at;

-- name: Tallies :many
SELECT * FROM tallies WHERE team_id = $1 AND from_at >= $2 AND from_at <= $3 ORDER BY from_at, node_id;

-- name: DeleteOldTallies :exec
DELETE FROM tallies WHERE until_at < $1;
