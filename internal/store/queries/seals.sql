-- Whoever seals changes the row first, and so waits for others who do, or who change the key.
-- name: HoldSeal :one
UPDATE installation SET seal_key = CASE WHEN seal_key = '' THEN sqlc.arg(first) ELSE seal_key END
WHERE number = 1 RETURNING seal_key;

-- name: SealKey :one
SELECT seal_key FROM installation WHERE number = 1;

-- name: SetSealKey :execrows
UPDATE installation SET seal_key = $1 WHERE number = 1;

-- What tells the key is keyring.HeadLength long. Only what is sealed is longer than 256
-- (shoal.MaxWebhookSecret).
-- name: SealHeads :many
SELECT CAST(SUBSTR(secret, 1, 25) AS TEXT) AS head FROM webhooks WHERE LENGTH(secret) > 256
UNION SELECT CAST(SUBSTR(sealed, 1, 25) AS TEXT) AS head FROM secrets;

-- What another key has sealed.
-- name: SecretsToReseal :many
SELECT id, team_id, version, sealed FROM secrets
WHERE id > sqlc.arg(after) AND SUBSTR(sealed, 1, 25) <> sqlc.arg(head) ORDER BY id LIMIT sqlc.arg(most);

-- name: ResealSecret :execrows
UPDATE secrets SET sealed = sqlc.arg(resealed) WHERE id = sqlc.arg(id) AND sealed = sqlc.arg(former);

-- name: WebhooksToReseal :many
SELECT id, secret FROM webhooks
WHERE id > sqlc.arg(after) AND SUBSTR(secret, 1, 25) <> sqlc.arg(head) ORDER BY id LIMIT sqlc.arg(most);

-- name: ResealWebhook :execrows
UPDATE webhooks SET secret = sqlc.arg(resealed) WHERE id = sqlc.arg(id) AND secret = sqlc.arg(former);

-- name: IdentityKeysToReseal :many
SELECT id, sealed FROM identity_keys
WHERE id > sqlc.arg(after) AND SUBSTR(sealed, 1, 25) <> sqlc.arg(head) ORDER BY id LIMIT sqlc.arg(most);

-- name: ResealIdentityKey :execrows
UPDATE identity_keys SET sealed = sqlc.arg(resealed) WHERE id = sqlc.arg(id) AND sealed = sqlc.arg(former);
