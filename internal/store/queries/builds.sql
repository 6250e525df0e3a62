-- name: InsertBuild :execrows
INSERT INTO builds (id, template_id, status, cpu_count, memory_mb, disk_mb, envd_version, image_digest,
                    default_user, default_workdir, created_at, updated_at, finished_at,
                    layers, origin, context, start_cmd, ready_cmd, start_context, snapshot, sandbox_id, runtime)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT DO NOTHING;

-- name: UpdateBuild :exec
UPDATE builds SET status = $2, cpu_count = $3, memory_mb = $4, disk_mb = $5, envd_version = $6,
                  image_digest = $7, default_user = $8, default_workdir = $9, updated_at = $10, finished_at = $11
WHERE id = $1;

-- name: StartBuild :execrows
UPDATE builds SET status = 'building', builder = $2, updated_at = $3, origin = $4, start_cmd = $5, ready_cmd = $6,
                  runtime = $7
WHERE id = $1 AND status = 'waiting';

-- name: CompleteBuild :execrows
UPDATE builds SET status = 'ready', disk_mb = $2, envd_version = $3, image_digest = $4, default_user = $5,
                  default_workdir = $6, updated_at = $7, finished_at = $8, layers = $9, context = $10,
                  start_cmd = $11, ready_cmd = $12, start_context = $13
WHERE id = $1 AND status = 'building';

-- name: FailBuild :execrows
UPDATE builds SET status = 'error', reason_message = $2, reason_step = $3, updated_at = $4, finished_at = $4
WHERE id = $1 AND status IN ('waiting', 'building');

-- name: ExpireBuild :execrows
UPDATE builds SET status = 'error', reason_message = $2, updated_at = $3, finished_at = $3
WHERE id = $1 AND status = 'waiting';

-- name: BuildByID :one
SELECT * FROM builds WHERE template_id = $1 AND id = $2;

-- name: ListBuildsBefore :many
SELECT * FROM builds
WHERE template_id = $1 AND (created_at < $2 OR (created_at = $2 AND id > $3))
ORDER BY created_at DESC, id
LIMIT $4;

-- name: ListSiblings :many
SELECT DISTINCT builds.id, builds.status
FROM build_assignments mine
JOIN build_assignments theirs ON theirs.template_id = mine.template_id AND theirs.tag = mine.tag
JOIN builds ON builds.id = theirs.build_id
WHERE mine.build_id = $1 AND builds.id <> $1 AND builds.status IN ('waiting', 'building');

-- name: ListActiveBuilds :many
SELECT builds.id, builds.template_id, builds.status FROM builds JOIN templates ON templates.id = builds.template_id
WHERE templates.team_id = $1 AND builds.status IN ('waiting', 'building') AND builds.created_at > $2;

-- name: ListActiveBuildsOf :many
SELECT id FROM builds WHERE template_id = $1 AND status IN ('waiting', 'building');

-- name: ListBuildsOfBuilder :many
SELECT id FROM builds WHERE builder = $1 AND status = 'building';

-- name: ListStaleBuilds :many
SELECT id FROM builds WHERE status = $1 AND created_at < $2;

-- name: InsertAssignment :exec
INSERT INTO build_assignments (template_id, tag, created_at, build_id) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- An assignment of the tag to a build that has failed leads to nothing any more, and neither
-- does the last one if it was to the same build. Of the others, the newest 99 stay.
-- name: PruneAssignments :exec
DELETE FROM build_assignments
WHERE build_assignments.template_id = $1 AND build_assignments.tag = $2 AND build_assignments.created_at < $3
  AND (build_assignments.build_id IN (
    SELECT builds.id FROM builds WHERE builds.template_id = $1 AND builds.status = 'error')
  OR (build_assignments.build_id = $4 AND build_assignments.created_at = (
    SELECT MAX(last.created_at) FROM build_assignments last WHERE last.template_id = $1 AND last.tag = $2))
  OR build_assignments.created_at <= (
    SELECT kept.created_at FROM build_assignments kept
    WHERE kept.template_id = $1 AND kept.tag = $2 ORDER BY kept.created_at DESC LIMIT 1 OFFSET 99));

-- name: CountAssignments :one
SELECT COUNT(*) FROM build_assignments WHERE template_id = $1;

-- name: DeleteAssignments :exec
DELETE FROM build_assignments WHERE template_id = $1 AND tag = $2;

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
SELECT builds.id FROM builds JOIN templates ON templates.id = builds.template_id
WHERE templates.deleted_at = 0 AND builds.status <> 'error';

-- name: EndedBuildIDs :many
SELECT builds.id FROM builds JOIN templates ON templates.id = builds.template_id
WHERE templates.deleted_at <> 0 OR builds.status = 'error';

-- name: ListUntagged :many
SELECT builds.id FROM builds JOIN templates ON templates.id = builds.template_id
WHERE templates.deleted_at = 0 AND templates.id <> 'base' AND builds.sandbox_id = ''
  AND builds.status = 'ready' AND builds.finished_at < $1
  AND NOT EXISTS (
    SELECT 1 FROM build_assignments mine
    WHERE mine.build_id = builds.id AND NOT EXISTS (
      SELECT 1 FROM build_assignments later JOIN builds newer ON newer.id = later.build_id
      WHERE later.template_id = mine.template_id AND later.tag = mine.tag AND newer.status = 'ready'
        AND later.created_at < $1
        AND (later.created_at > mine.created_at OR (later.created_at = mine.created_at AND later.build_id > mine.build_id))
    )
  );

-- name: RetireBuild :execrows
UPDATE builds SET status = 'error', reason_message = $2, updated_at = $3
WHERE id = $1 AND status = 'ready';
