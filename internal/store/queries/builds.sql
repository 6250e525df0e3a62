-- name: InsertBuild :execrows
INSERT INTO builds (id, template_id, status, cpu_count, memory_mb, disk_mb, envd_version, image_digest,
                    default_user, default_workdir, created_at, updated_at, finished_at, snapshot, sandbox_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT DO NOTHING;

-- name: UpdateBuild :exec
UPDATE builds SET status = $2, cpu_count = $3, memory_mb = $4, disk_mb = $5, envd_version = $6,
                  image_digest = $7, default_user = $8, default_workdir = $9, updated_at = $10, finished_at = $11
WHERE id = $1;

-- name: BuildByID :one
SELECT * FROM builds WHERE template_id = $1 AND id = $2;

-- name: ListBuildsBefore :many
SELECT * FROM builds
WHERE template_id = $1 AND (created_at < $2 OR (created_at = $2 AND id > $3))
ORDER BY created_at DESC, id
LIMIT $4;

-- name: InsertAssignment :exec
INSERT INTO build_assignments (template_id, tag, created_at, build_id) VALUES ($1, $2, $3, $4);

-- name: NewestBuildOfTag :one
SELECT sqlc.embed(builds), build_assignments.created_at AS assigned_at
FROM build_assignments JOIN builds ON builds.id = build_assignments.build_id
WHERE build_assignments.template_id = $1 AND build_assignments.tag = $2
ORDER BY build_assignments.created_at DESC, build_assignments.build_id DESC
LIMIT 1;

-- name: NewestBuildOfTagWithStatus :one
SELECT builds.*
FROM build_assignments JOIN builds ON builds.id = build_assignments.build_id
WHERE build_assignments.template_id = $1 AND build_assignments.tag = $2 AND builds.status = $3
ORDER BY build_assignments.created_at DESC, build_assignments.build_id DESC
LIMIT 1;

-- name: AssignmentsOf :many
SELECT tag, build_id, created_at FROM build_assignments
WHERE template_id = $1
ORDER BY created_at DESC, build_id DESC;

-- name: BuildIDs :many
SELECT id FROM builds;
