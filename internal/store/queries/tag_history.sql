-- name: ListReadyTags :many
SELECT build_assignments.tag, CAST(MAX(build_assignments.created_at) AS BIGINT) AS latest
FROM build_assignments JOIN builds ON builds.id = build_assignments.build_id
WHERE build_assignments.template_id = $1 AND builds.status = 'ready'
GROUP BY build_assignments.tag;

-- name: ListReadyAssignmentsBefore :many
SELECT build_assignments.build_id, build_assignments.created_at AS assigned_at,
       builds.created_at AS build_created_at, builds.finished_at AS build_finished_at
FROM build_assignments JOIN builds ON builds.id = build_assignments.build_id
WHERE build_assignments.template_id = $1 AND build_assignments.tag = $2 AND builds.status = 'ready'
  AND (build_assignments.created_at < $3
       OR (build_assignments.created_at = $3 AND build_assignments.build_id < $4))
ORDER BY build_assignments.created_at DESC, build_assignments.build_id DESC
LIMIT $5;
