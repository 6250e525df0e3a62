-- name: MeasureBuild :execrows
UPDATE builds SET bytes = $2 WHERE id = $1 AND bytes < 0;

-- name: InsertBuildImage :exec
INSERT INTO build_images (build_id, digest, bytes) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING;

-- An image counts once, however many of the team's builds have it, and not at all while the
-- base template or a public template of another team has it too. Both sets are made once: a
-- look at each image by itself would go through all builds that share it.
-- name: StoredBytes :one
WITH mine AS (
  SELECT builds.id, builds.bytes FROM builds JOIN templates ON templates.id = builds.template_id
  WHERE templates.team_id = $1 AND templates.id <> 'base' AND templates.deleted_at = 0 AND builds.status <> 'error'
), images AS (
  SELECT DISTINCT build_images.digest, build_images.bytes
  FROM build_images JOIN mine ON mine.id = build_images.build_id
), others AS (
  SELECT DISTINCT build_images.digest FROM templates
  JOIN builds ON builds.template_id = templates.id
  JOIN build_images ON build_images.build_id = builds.id
  WHERE (templates.id = 'base' OR (templates.public AND templates.team_id <> $1))
    AND templates.deleted_at = 0 AND builds.status <> 'error'
)
SELECT CAST(COALESCE((SELECT SUM(mine.bytes) FROM mine WHERE mine.bytes > 0), 0)
          + COALESCE((SELECT SUM(images.bytes) FROM images
                      WHERE images.digest NOT IN (SELECT others.digest FROM others)), 0) AS BIGINT) AS bytes;
