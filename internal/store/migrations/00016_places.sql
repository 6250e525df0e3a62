-- Places of running sandboxes among those that their teams may have at once. All apis on the database
-- take them here, so that they are exact together.

-- +goose Up
CREATE TABLE places (
    sandbox_id TEXT   NOT NULL PRIMARY KEY,
    team_id    TEXT   NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    -- The machine; empty before the sandbox has started.
    node       TEXT   NOT NULL,
    -- Another one each time the place is taken.
    stamp      BIGINT NOT NULL,
    -- An api may be starting the sandbox until then.
    held_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX places_team ON places (team_id);
CREATE INDEX places_node ON places (node);

-- +goose Down
DROP TABLE places;
