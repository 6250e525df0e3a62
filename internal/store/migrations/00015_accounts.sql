-- Service accounts: users of one team that are programs. An API key that belongs to one may what
-- its role allows. Passwords of people, their sessions in browsers, and links by which a password
-- is set once. Secrets are here as hashes alone. An empty text is none.

-- +goose Up
ALTER TABLE users ADD COLUMN service_team TEXT NOT NULL DEFAULT '';
CREATE INDEX users_service ON users (service_team, created_at);
ALTER TABLE api_keys ADD COLUMN owner TEXT NOT NULL DEFAULT '';
CREATE INDEX api_keys_owner ON api_keys (owner);

CREATE TABLE passwords (
    user_id    TEXT   NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash       TEXT   NOT NULL, -- with the parameters that it was made by
    changed_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    hash       TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_age ON sessions (created_at);

CREATE TABLE password_links (
    hash       TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL, -- whose password it sets; of none, it makes the first person
    expires_at BIGINT NOT NULL
);
CREATE INDEX password_links_user ON password_links (user_id);

-- +goose Down
DROP TABLE password_links;
DROP TABLE sessions;
DROP TABLE passwords;
DROP INDEX api_keys_owner;
ALTER TABLE api_keys DROP COLUMN owner;
DROP INDEX users_service;
ALTER TABLE users DROP COLUMN service_team;
