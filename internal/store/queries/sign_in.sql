-- name: PasswordByEmail :one
SELECT sqlc.embed(users), passwords.hash AS password_hash
FROM passwords JOIN users ON users.id = passwords.user_id WHERE users.email = $1;

-- name: SetPassword :exec
INSERT INTO passwords (user_id, hash, changed_at) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at;

-- name: CountPasswords :one
SELECT COUNT(*) FROM passwords;

-- name: InsertSession :exec
INSERT INTO sessions (hash, user_id, created_at, used_at) VALUES ($1, $2, $3, $4);

-- name: SessionByHash :one
SELECT sqlc.embed(users), sqlc.embed(sessions)
FROM sessions JOIN users ON users.id = sessions.user_id WHERE sessions.hash = $1;

-- name: TouchSession :exec
UPDATE sessions SET used_at = $2 WHERE hash = $1 AND used_at < $2;

-- name: DeleteSession :exec
DELETE FROM sessions WHERE hash = $1;

-- name: DeleteSessions :exec
DELETE FROM sessions WHERE user_id = $1;

-- Of a user's sessions, the oldest beyond the given number.
-- name: DeleteSurplusSessions :exec
DELETE FROM sessions WHERE sessions.hash IN (
    SELECT surplus.hash FROM sessions surplus WHERE surplus.user_id = $1
    ORDER BY surplus.created_at DESC, surplus.hash LIMIT 1000000 OFFSET $2);

-- name: DeleteEndedSessions :exec
DELETE FROM sessions WHERE created_at < $1 OR used_at < $2;

-- name: InsertPasswordLink :exec
INSERT INTO password_links (hash, user_id, expires_at) VALUES ($1, $2, $3);

-- name: DeletePasswordLinks :exec
DELETE FROM password_links WHERE user_id = $1;

-- name: DeleteExpiredPasswordLinks :exec
DELETE FROM password_links WHERE expires_at < $1;

-- name: PasswordLink :one
SELECT password_links.user_id, CAST(COALESCE(users.email, '') AS TEXT) AS email
FROM password_links LEFT JOIN users ON users.id = password_links.user_id
WHERE password_links.hash = $1 AND password_links.expires_at > $2;

-- name: TakePasswordLink :one
DELETE FROM password_links WHERE hash = $1 AND expires_at > $2 RETURNING user_id;
