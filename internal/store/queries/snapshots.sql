-- name: ListSnapshotsBefore :many
SELECT * FROM templates
WHERE team_id = $1 AND source = 'snapshot_template' AND deleted_at = 0
  AND (created_at < $2 OR (created_at = $2 AND id > $3))
ORDER BY created_at DESC, id
LIMIT $4;

-- name: ListSnapshotsOfSandboxBefore :many
SELECT * FROM templates
WHERE templates.team_id = $1 AND templates.source = 'snapshot_template' AND templates.deleted_at = 0
  AND (templates.created_at < $2 OR (templates.created_at = $2 AND templates.id > $3))
  AND templates.id IN (SELECT builds.template_id FROM builds WHERE builds.sandbox_id = $4)
ORDER BY templates.created_at DESC, templates.id
LIMIT $5;

-- name: BuildsOf :many
SELECT * FROM builds WHERE template_id = $1 ORDER BY created_at DESC, id;

-- name: DeleteAssignmentsOfBuild :exec
DELETE FROM build_assignments WHERE build_id = $1;

-- name: DeleteBuild :exec
DELETE FROM builds WHERE id = $1;
