-- Users, what they are in which teams, who vouches for them, and their access tokens. API keys
-- get a creator, scopes and an end; an empty text and 0 are none.

-- +goose Up
CREATE TABLE users (
    id         TEXT   NOT NULL PRIMARY KEY,
    email      TEXT   NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE memberships (
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    team_id    TEXT    NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    role       TEXT    NOT NULL,
    is_default BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT  NOT NULL,
    PRIMARY KEY (user_id, team_id)
);
CREATE INDEX memberships_team ON memberships (team_id, created_at);
-- A user has one default team.
CREATE UNIQUE INDEX memberships_default ON memberships (user_id) WHERE is_default;

CREATE TABLE identities (
    issuer     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, issuer)
);

CREATE TABLE access_tokens (
    id          TEXT   NOT NULL PRIMARY KEY,
    user_id     TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    hash        TEXT   NOT NULL UNIQUE,
    mask_prefix TEXT   NOT NULL,
    mask_suffix TEXT   NOT NULL,
    length      BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX access_tokens_user ON access_tokens (user_id, created_at);

ALTER TABLE api_keys ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
-- Made by GET /teams, so it stands for the user who made it.
ALTER TABLE api_keys ADD COLUMN login BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE api_keys DROP COLUMN login;
ALTER TABLE api_keys DROP COLUMN expires_at;
ALTER TABLE api_keys DROP COLUMN scopes;
ALTER TABLE api_keys DROP COLUMN created_by;
DROP TABLE access_tokens;
DROP TABLE identities;
DROP TABLE memberships;
DROP TABLE users;
