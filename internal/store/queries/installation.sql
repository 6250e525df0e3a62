-- name: InsertInstallation :exec
INSERT INTO installation (number, id, created_at) VALUES (1, $1, $2)
ON CONFLICT DO NOTHING;

-- name: InstallationID :one
SELECT id FROM installation WHERE number = 1;
