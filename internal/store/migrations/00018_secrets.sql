-- Secrets of teams and the keys of sandboxes' identities, both sealed, and which key seals.

-- +goose Up
CREATE TABLE secrets (
    id         TEXT   NOT NULL PRIMARY KEY,
    team_id    TEXT   NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    sealed     TEXT   NOT NULL,
    metadata   TEXT   NOT NULL, -- JSON
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX secrets_name ON secrets (team_id, name);
CREATE INDEX secrets_team ON secrets (team_id, created_at, id);

-- A key signs from signs_from on until the next one does.
CREATE TABLE identity_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    public     TEXT   NOT NULL, -- JWK
    sealed     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    signs_from BIGINT NOT NULL
);

-- The ID of the key that seals; empty until something is sealed.
ALTER TABLE installation ADD COLUMN seal_key TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE installation DROP COLUMN seal_key;
DROP TABLE identity_keys;
DROP TABLE secrets;
