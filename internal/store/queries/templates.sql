-- name: InsertTemplate :execrows
INSERT INTO templates (id, team_id, source, public, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;

-- name: TemplateByID :one
SELECT * FROM templates WHERE id = $1 AND deleted_at = 0;

-- name: TemplateByAlias :one
SELECT templates.* FROM templates
JOIN template_aliases ON template_aliases.template_id = templates.id
WHERE template_aliases.namespace = $1 AND template_aliases.name = $2 AND templates.deleted_at = 0;

-- name: ListTemplates :many
SELECT * FROM templates WHERE team_id = $1 AND source = 'template' AND deleted_at = 0
ORDER BY created_at, id;

-- name: ListTemplatesBefore :many
SELECT * FROM templates
WHERE team_id = $1 AND source = 'template' AND deleted_at = 0
  AND (created_at < $2 OR (created_at = $2 AND id > $3))
ORDER BY created_at DESC, id
LIMIT $4;

-- name: DeleteTemplate :execrows
UPDATE templates SET deleted_at = $2, updated_at = $2 WHERE id = $1 AND deleted_at = 0;

-- name: SetTemplatePublic :execrows
UPDATE templates SET public = $2, updated_at = $3 WHERE id = $1 AND deleted_at = 0;

-- name: CountBuild :exec
UPDATE templates SET build_count = build_count + 1, updated_at = $2 WHERE id = $1;

-- name: CountSpawns :exec
UPDATE templates SET spawn_count = spawn_count + $2, last_spawned_at = $3 WHERE id = $1;

-- name: InsertAlias :execrows
INSERT INTO template_aliases (namespace, name, template_id) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING;

-- name: DeleteAlias :execrows
DELETE FROM template_aliases WHERE namespace = $1 AND name = $2 AND template_id = $3;

-- name: DeleteAliases :exec
DELETE FROM template_aliases WHERE template_id = $1;

-- name: AliasesOf :many
SELECT namespace, name FROM template_aliases WHERE template_id = $1 ORDER BY name, namespace;
