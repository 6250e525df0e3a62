-- Who did what to what, from where, with which outcome. Rows are added, and removed when they are
-- old; none is ever changed. What they speak of may be gone, so they refer to nothing.

-- +goose Up
CREATE TABLE audit (
    id          TEXT   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    team_id     TEXT   NOT NULL,
    actor_kind  TEXT   NOT NULL,
    actor_id    TEXT   NOT NULL,
    user_id     TEXT   NOT NULL,
    actor_name  TEXT   NOT NULL,
    operation   TEXT   NOT NULL,
    target_kind TEXT   NOT NULL,
    target_id   TEXT   NOT NULL,
    address     TEXT   NOT NULL,
    agent       TEXT   NOT NULL,
    request_id  TEXT   NOT NULL,
    status      BIGINT NOT NULL,
    error_code  TEXT   NOT NULL,
    count       BIGINT NOT NULL
);
CREATE INDEX audit_time ON audit (at, id);
CREATE INDEX audit_team ON audit (team_id, at, id);

-- +goose Down
DROP TABLE audit;
