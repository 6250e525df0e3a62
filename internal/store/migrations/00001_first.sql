-- Portable subset: TEXT, BIGINT and BOOLEAN only. Times are microseconds since
-- 1970 UTC; 0 is "never". An empty namespace is the global one.

-- +goose Up
CREATE TABLE teams (
    id                   TEXT    NOT NULL PRIMARY KEY,
    name                 TEXT    NOT NULL,
    slug                 TEXT    NOT NULL UNIQUE,
    concurrent_sandboxes BIGINT  NOT NULL,
    max_length_hours     BIGINT  NOT NULL,
    max_cpu              BIGINT  NOT NULL,
    max_memory_mb        BIGINT  NOT NULL,
    concurrent_builds    BIGINT  NOT NULL,
    disk_mb              BIGINT  NOT NULL,
    blocked              BOOLEAN NOT NULL DEFAULT FALSE,
    blocked_reason       TEXT    NOT NULL DEFAULT '',
    banned               BOOLEAN NOT NULL DEFAULT FALSE,
    created_at           BIGINT  NOT NULL
);

CREATE TABLE api_keys (
    id          TEXT   NOT NULL PRIMARY KEY,
    team_id     TEXT   NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    hash        TEXT   NOT NULL UNIQUE,
    mask_prefix TEXT   NOT NULL,
    mask_suffix TEXT   NOT NULL,
    length      BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    last_used   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX api_keys_team ON api_keys (team_id);

CREATE TABLE templates (
    id              TEXT    NOT NULL PRIMARY KEY,
    team_id         TEXT    NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    public          BOOLEAN NOT NULL DEFAULT FALSE,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    last_spawned_at BIGINT  NOT NULL DEFAULT 0,
    spawn_count     BIGINT  NOT NULL DEFAULT 0,
    build_count     BIGINT  NOT NULL DEFAULT 0
);
CREATE INDEX templates_team ON templates (team_id, created_at);

CREATE TABLE template_aliases (
    namespace   TEXT NOT NULL,
    name        TEXT NOT NULL,
    template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    PRIMARY KEY (namespace, name)
);
CREATE INDEX template_aliases_template ON template_aliases (template_id);

CREATE TABLE builds (
    id              TEXT   NOT NULL PRIMARY KEY,
    template_id     TEXT   NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    status          TEXT   NOT NULL,
    cpu_count       BIGINT NOT NULL,
    memory_mb       BIGINT NOT NULL,
    disk_mb         BIGINT NOT NULL,
    envd_version    TEXT   NOT NULL DEFAULT '',
    image_digest    TEXT   NOT NULL DEFAULT '',
    default_user    TEXT   NOT NULL DEFAULT '',
    default_workdir TEXT   NOT NULL DEFAULT '',
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    finished_at     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX builds_template ON builds (template_id, created_at);

-- Rows are only added. The newest row of a tag names the tag's build.
CREATE TABLE build_assignments (
    template_id TEXT   NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    tag         TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    build_id    TEXT   NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    PRIMARY KEY (template_id, tag, created_at, build_id)
);
CREATE INDEX build_assignments_build ON build_assignments (build_id);

-- +goose Down
DROP TABLE build_assignments;
DROP TABLE builds;
DROP TABLE template_aliases;
DROP TABLE templates;
DROP TABLE api_keys;
DROP TABLE teams;
