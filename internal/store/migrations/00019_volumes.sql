-- Volumes of teams. One that is removed stays, under another name, until its content is gone.

-- +goose Up
CREATE TABLE volumes (
    id         TEXT   NOT NULL PRIMARY KEY,
    team_id    TEXT   NOT NULL REFERENCES teams (id),
    name       TEXT   NOT NULL,
    backend    TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    -- 0 unless it is removed.
    removed_at BIGINT NOT NULL DEFAULT 0,
    UNIQUE (team_id, name)
);
CREATE INDEX volumes_removed ON volumes (removed_at);
UPDATE tiers SET limits = limits || ' max-volumes=100 volume-size=10240';

-- +goose Down
DROP TABLE volumes;
