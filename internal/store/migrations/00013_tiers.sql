-- Named sets of limits, one of which each team has. A team's own limits come before its tier's.
-- Limits are kept as "NAME=N NAME=N"; a tier has all of them. Features that were switched on or
-- off, for the installation (team_id '') or for a team.

-- +goose Up
CREATE TABLE tiers (
    name       TEXT   NOT NULL PRIMARY KEY,
    limits     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);
INSERT INTO tiers (name, limits, created_at) VALUES ('default',
    'concurrent-sandboxes=1000 sandboxes=2000 max-hours=24 max-cpu=32 max-memory=65536 disk=10240 concurrent-builds=20 builds=2000 storage=1024 event-days=7 creates-per-second=100 requests-per-second=2000',
    0);

CREATE TABLE switches (
    team_id TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    is_on   BOOLEAN NOT NULL,
    PRIMARY KEY (team_id, name)
);

ALTER TABLE teams ADD COLUMN tier TEXT NOT NULL DEFAULT 'default';
ALTER TABLE teams ADD COLUMN limits TEXT NOT NULL DEFAULT '';
CREATE INDEX teams_tier ON teams (tier);
-- Whatever a team may beside the default becomes its own.
UPDATE teams SET limits =
    CASE WHEN concurrent_sandboxes = 1000 THEN '' ELSE 'concurrent-sandboxes=' || concurrent_sandboxes || ' ' END ||
    CASE WHEN sandboxes = 2000 THEN '' ELSE 'sandboxes=' || sandboxes || ' ' END ||
    CASE WHEN max_length_hours = 24 THEN '' ELSE 'max-hours=' || max_length_hours || ' ' END ||
    CASE WHEN max_cpu = 32 THEN '' ELSE 'max-cpu=' || max_cpu || ' ' END ||
    CASE WHEN max_memory_mb = 65536 THEN '' ELSE 'max-memory=' || max_memory_mb || ' ' END ||
    CASE WHEN disk_mb = 10240 THEN '' ELSE 'disk=' || disk_mb || ' ' END ||
    CASE WHEN concurrent_builds = 20 THEN '' ELSE 'concurrent-builds=' || concurrent_builds || ' ' END ||
    CASE WHEN builds = 2000 THEN '' ELSE 'builds=' || builds || ' ' END ||
    CASE WHEN storage_gb = 1024 THEN '' ELSE 'storage=' || storage_gb || ' ' END ||
    CASE WHEN event_days = 7 THEN '' ELSE 'event-days=' || event_days END;
ALTER TABLE teams DROP COLUMN concurrent_sandboxes;
ALTER TABLE teams DROP COLUMN sandboxes;
ALTER TABLE teams DROP COLUMN max_length_hours;
ALTER TABLE teams DROP COLUMN max_cpu;
ALTER TABLE teams DROP COLUMN max_memory_mb;
ALTER TABLE teams DROP COLUMN disk_mb;
ALTER TABLE teams DROP COLUMN concurrent_builds;
ALTER TABLE teams DROP COLUMN builds;
ALTER TABLE teams DROP COLUMN storage_gb;
ALTER TABLE teams DROP COLUMN event_days;

-- +goose Down
-- SQL cannot read the limits, so all teams get the defaults.
ALTER TABLE teams ADD COLUMN concurrent_sandboxes BIGINT NOT NULL DEFAULT 1000;
ALTER TABLE teams ADD COLUMN sandboxes BIGINT NOT NULL DEFAULT 2000;
ALTER TABLE teams ADD COLUMN max_length_hours BIGINT NOT NULL DEFAULT 24;
ALTER TABLE teams ADD COLUMN max_cpu BIGINT NOT NULL DEFAULT 32;
ALTER TABLE teams ADD COLUMN max_memory_mb BIGINT NOT NULL DEFAULT 65536;
ALTER TABLE teams ADD COLUMN disk_mb BIGINT NOT NULL DEFAULT 10240;
ALTER TABLE teams ADD COLUMN concurrent_builds BIGINT NOT NULL DEFAULT 20;
ALTER TABLE teams ADD COLUMN builds BIGINT NOT NULL DEFAULT 2000;
ALTER TABLE teams ADD COLUMN storage_gb BIGINT NOT NULL DEFAULT 1024;
ALTER TABLE teams ADD COLUMN event_days BIGINT NOT NULL DEFAULT 7;
DROP INDEX teams_tier;
ALTER TABLE teams DROP COLUMN limits;
ALTER TABLE teams DROP COLUMN tier;
DROP TABLE tiers;
DROP TABLE switches;
